"""Which held-out rows are asked about, and what: each recorded assistant tool call is one question."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.domain.measurements import Skipped
from l07.errors import BadJob
from l07.training.measure.model import Model, common_start, token_ids
from l07.training.rows import chat

ROOM = 32  # tokens that must be left for an answer, or the question is not asked


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A row to ask about; `tools` are the names that may be called."""

    set: str
    about: Mapping[str, Any]
    row: Mapping[str, Any]
    tools: frozenset[str]


def held_out_rows(job: Mapping[str, Any], folder: Path) -> list[tuple[HeldOut, bool]]:
    """Test and golden rows in the order in which they are taken; False: beyond the limit."""
    dataset = Path(job["dataset"])
    out: list[tuple[HeldOut, bool]] = []
    seen: frozenset[str] | None = None
    for name, rows in (("test", _split(dataset, "test", folder)), ("golden", _golden(job["golden"]))):
        for number, about in enumerate(_spread(rows, job["seed"])):
            row = chat(about)
            tools = frozenset(_tool_name(tool) for tool in row["tools"])
            if not tools:
                seen = _tools_seen(dataset, folder) if seen is None else seen
            out.append((HeldOut(name, about, row, tools or seen or frozenset()), number < job["rows"]))
    return out


def _split(dataset: Path, split: str, folder: Path) -> list[Mapping[str, Any]]:
    from datasets import load_dataset

    files = sorted(str(path) for path in (dataset / "data").glob(f"{split}-*.parquet"))
    if not files:
        return []
    return list(load_dataset("parquet", data_files={split: files}, split=split, cache_dir=str(folder / "cache")))


def _golden(path: str | None) -> list[Mapping[str, Any]]:
    if path is None:
        return []
    try:
        with Path(path).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as err:
        raise BadJob(f"the golden set {path} cannot be read: {type(err).__name__}") from err


def _spread(rows: Sequence[Mapping[str, Any]], seed: int) -> list[Mapping[str, Any]]:
    """Rows such that any first part has as many groups, over as evenly many domains, as it can."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}/{text}".encode()).hexdigest()

    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: draw(row["key"])):
        groups.setdefault((row.get("domain") or "", row["group"]), []).append(row)
    places: dict[str, int] = {}
    ranked: list[tuple[int, int, str, Mapping[str, Any]]] = []
    for (domain, _), members in sorted(groups.items(), key=lambda item: draw(item[0][1])):
        place = places[domain] = places.get(domain, -1) + 1
        ranked += [(turn, place, domain, row) for turn, row in enumerate(members)]
    return [row for *_, row in sorted(ranked, key=lambda item: item[:3])]


def _tools_seen(dataset: Path, folder: Path) -> frozenset[str]:
    names: set[str] = set()
    for about in _split(dataset, "train", folder):
        row = chat(about)
        names.update(_tool_name(tool) for tool in row["tools"])
        names.update(call["function"]["name"] for message in row["messages"] for call in message.get("tool_calls", ()))
    return frozenset(names)


def _tool_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name", ""))


@dataclass(frozen=True, slots=True)
class Question:
    """One recorded call. `row` is an index into the held-out rows."""

    row: int
    message: int
    place: int  # of the call in its message
    name: str
    arguments: Any
    source: HeldOut

    def prompt(self, tokenizer: Any) -> list[int]:
        """Token ids of all that stands before the call, calls of the same message included."""
        messages, tools = self.source.row["messages"], self.source.row["tools"] or None
        before = messages[: self.message]
        if self.place == 0:
            return token_ids(tokenizer, before, tools, add_generation_prompt=True)
        return common_start(
            [token_ids(tokenizer, [*before, self._cut(upto)], tools) for upto in (self.place, self.place + 1)]
        )

    def _cut(self, calls: int) -> dict[str, Any]:
        message = self.source.row["messages"][self.message]
        return {**message, "tool_calls": message["tool_calls"][:calls]}


def questions_of(
    held_out: Sequence[tuple[HeldOut, bool]], models: Sequence[Model], job: Mapping[str, Any]
) -> tuple[list[Question], Skipped]:
    out: list[Question] = []
    beyond = without = too_long = 0
    for index, (source, wanted) in enumerate(held_out):
        asked = _calls(index, source)[: job["calls_per_row"]]
        fitting = [one for one in asked if _fits(one, models)] if wanted else []
        beyond += not wanted
        without += wanted and not asked
        too_long += len(asked) - len(fitting) if wanted else 0
        out += fitting
    return out, Skipped(beyond, without, too_long)


def _fits(question: Question, models: Sequence[Model]) -> bool:
    return all(len(question.prompt(model.tokenizer)) + ROOM < model.context for model in models)


def _calls(index: int, source: HeldOut) -> list[Question]:
    return [
        Question(index, number, place, call["function"]["name"], call["function"]["arguments"], source)
        for number, message in enumerate(source.row["messages"])
        if message["role"] == "assistant"
        for place, call in enumerate(message.get("tool_calls", ()))
    ]
