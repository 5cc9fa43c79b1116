"""A version's row as a learner may compare it: as it was said, cut into prompt and completion, turn by turn.

Exporter and trainer both derive their pairs from here, so the same version gives the same pairs to either.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from l07.domain.example import text_of, tool_calls
from l07.domain.formats import until_answer
from l07.domain.preference import Attempt, Pair, Turn, eligible

Messages = Sequence[Mapping[str, Any]]
# What `attempt_of` and the cuts look at; a reader need not fetch more.
COLUMNS = (
    "key", "messages", "tools", "decision", "reasons", "quality_score", "confidence", "split", "domain", "task_id",
)  # fmt: skip


def as_said(message: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message as it was taken in: absent fields left out, arguments as objects."""
    said = {name: value for name, value in message.items() if value is not None or name == "content"}
    if said.get("tool_calls"):
        said["tool_calls"] = [{**call, "function": _function(call["function"])} for call in said["tool_calls"]]
    return said


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    """`datasets` decodes a column of JSON text by itself."""
    arguments = function["arguments"]
    return {**function, "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments}


def row_as_said(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row, messages and tools as objects."""
    messages = [as_said(message) for message in row["messages"]]
    tools = row["tools"]
    return {**row, "messages": messages, "tools": json.loads(tools) if isinstance(tools, str) else tools}


def attempt_of(row: Mapping[str, Any]) -> Attempt | None:
    """Of a row as it was said; None: it was never answered, or takes no part (`eligible`)."""
    halves = cut(row)
    if not halves["completion"] or not eligible(row["decision"], row["reasons"]):
        return None
    return Attempt(
        key=row["key"],
        task=f"{row['domain']}/{row['task_id']}",
        prompt=hashlib.sha256(_canonical([halves["prompt"], row["tools"]])).hexdigest(),
        split=row["split"],
        domain=row["domain"],
        accepted=row["decision"] == "ACCEPT",
        quality_score=row["quality_score"],
        confidence=row["confidence"],
        length=length(halves["completion"]),
        turns=tuple(_turns(row["messages"])),
    )


def cut(row: Mapping[str, Any], at: int | None = None, *, alone: bool = False) -> dict[str, Any]:
    """`prompt` and `completion`, and `tools` where there are any: all that came before the agent's first turn (or before
    message `at`), and the rest up to its last one, or that message `alone`."""
    messages = until_answer(row["messages"])
    first = next((n for n, message in enumerate(messages) if message["role"] == "assistant"), 0) if at is None else at
    completion = messages[first : first + 1] if alone else messages[first:]
    tools = {"tools": row["tools"]} if row["tools"] else {}
    return {"prompt": messages[:first], "completion": completion, **tools}


def pair_row(pair: Pair, chosen: Mapping[str, Any], rejected: Mapping[str, Any]) -> dict[str, Any]:
    """A pair in TRL's conversational format, of the rows of its two runs as they were said."""
    one, other = (cut(row, pair.at, alone=pair.alone) for row in (chosen, rejected))
    said = {"chosen": one.pop("completion"), "rejected": other["completion"], "margin": pair.margin}
    return {**one, **said, "chosen_key": pair.chosen.key, "rejected_key": pair.rejected.key}


def prompts_of(row: Mapping[str, Any]) -> list[int]:
    """Numbers of the messages before which a policy may be asked: the agent's turns that call a tool; where a run has
    none, all its turns."""
    turns = turns_of(row)
    return [at for at in turns if row["messages"][at].get("tool_calls")] or turns


def turns_of(row: Mapping[str, Any]) -> list[int]:
    """Numbers of the agent's messages."""
    return [at for at, message in enumerate(row["messages"]) if message["role"] == "assistant"]


def length(messages: Messages) -> int:
    """Characters of what was said and called, at least one."""
    said = sum(len(text_of(message.get("content"))) for message in messages)
    functions = (call["function"] for call in tool_calls(messages))
    return max(1, said + sum(len(str(f["name"])) + len(text_of(f.get("arguments"))) for f in functions))


def _turns(messages: Messages) -> Iterator[Turn]:
    before = hashlib.sha256()
    for at, message in enumerate(messages):
        said = _canonical(_without_ids(message))
        if message["role"] == "assistant":
            yield Turn(at, before.digest()[:16], hashlib.sha256(said).digest()[:16], length([message]))
        before.update(said)
        before.update(b"\0")


def _without_ids(message: Mapping[str, Any]) -> list[Any]:
    """What a message says: two runs that do the same have other ids for their calls."""
    calls = [(call["function"]["name"], call["function"].get("arguments")) for call in message.get("tool_calls") or ()]
    return [message["role"], message.get("content") or "", calls]


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
