"""Dataset rows become token ids and labels: what the assistant said is learned from, all else is only read."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from l07.errors import DatasetDiffers, TemplateUnfit
from l07.training.cutting import Messages, longest_that_fits, says_something
from l07.training.files import file_digests

IGNORED = -100  # a label that the loss skips


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row, ready to train on."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Rows that fit. `cut`: how many of them without their end; left out: `too_long` even so, `empty` of anything said."""

    rows: list[Tokens]
    too_long: int
    cut: int = 0
    empty: int = 0


def check_dataset(folder: Path, digest: str) -> None:
    """The folder is the version that the job names, and its files are those of the manifest.

    Raises:
        DatasetDiffers: E7722, the manifest or a file is missing, or differs."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise DatasetDiffers(f"the manifest of {folder} cannot be read") from err
    if manifest.get("digest") != digest:
        raise DatasetDiffers(f"{folder} has digest {manifest.get('digest')}, the job names {digest}")
    there = file_digests(folder)
    named = {
        name: entry["sha256"] if isinstance(entry, Mapping) else entry for name, entry in manifest["files"].items()
    }
    wrong = sorted(name for name, sha256 in named.items() if there.get(name) != sha256)
    if wrong:
        raise DatasetDiffers(f"{folder}: {', '.join(wrong[:5])} is missing or does not fit the manifest", files=wrong)


def read_split(folder: Path, split: str, cache: Path) -> list[dict[str, Any]]:
    """Rows of one split as {"messages", "tools"}, in the order of the files; none when the split has no file."""
    table = read_table(folder, split, cache)
    return [] if table is None else [chat(row) for row in table.select_columns(["messages", "tools"])]


def read_table(folder: Path, name: str, cache: Path) -> Any | None:
    """A table of a version as `datasets` reads it, rows in the order of the files; None: it has no file."""
    from datasets import load_dataset

    files = sorted(str(path) for path in (folder / "data").glob(f"{name}-*.parquet"))
    if not files:
        return None
    return load_dataset("parquet", data_files={name: files}, split=name, cache_dir=str(cache))


def chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as templates expect it: no nulls, arguments as objects, tools as a list."""
    tools = row.get("tools") or []
    tools = json.loads(tools) if isinstance(tools, str) else tools
    tools = [json.loads(tool) if isinstance(tool, str) else tool for tool in tools or []]
    return {"messages": [_message(message) for message in row["messages"]], "tools": tools}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    out = {name: value for name, value in message.items() if value is not None and name != "tool_calls"}
    out["content"] = out.get("content", "")
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    return {**out, "tool_calls": calls} if calls else out


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return {
        "id": call.get("id") or "",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments or {}},
    }


def tokenise(rows: Iterable[Mapping[str, Any]], tokenizer: Any, max_length: int) -> Tokenised:
    """Token ids with labels on the assistant's tokens.

    A row of more than `max_length` tokens is cut as `cutting` says, and left out where that leaves nothing to learn from.

    Raises:
        TemplateUnfit: E7725, the template fails on a row, drops its calls, or marks nothing in it."""
    out: list[Tokens] = []
    counts = {"cut": 0, "too_long": 0, "empty": 0}
    for number, row in enumerate(rows):
        if not any(map(says_something, row["messages"])):
            counts["empty"] += 1
            continue
        fitted = _fitted(row, tokenizer, max_length, number)
        if fitted is None:
            counts["too_long"] += 1
            continue
        kept, ids, mask = fitted
        counts["cut"] += len(kept["messages"]) < len(row["messages"])
        _check_mask(kept, ids, mask, tokenizer, number)
        out.append(Tokens(ids, [token if marked else IGNORED for token, marked in zip(ids, mask, strict=True)]))
    return Tokenised(out, **counts)


def _fitted(
    row: Mapping[str, Any], tokenizer: Any, max_length: int, number: int
) -> tuple[Mapping[str, Any], list[int], list[int]] | None:
    encoded: dict[int, tuple[list[int], list[int]]] = {}

    def fits(messages: Messages) -> bool:
        encoded[len(messages)] = encode({**row, "messages": messages}, tokenizer, number)
        return len(encoded[len(messages)][0]) <= max_length

    kept = longest_that_fits(row["messages"], fits)
    return None if kept is None else ({**row, "messages": kept}, *encoded[len(kept)])


def encode(row: Mapping[str, Any], tokenizer: Any, number: int | None = None) -> tuple[list[int], list[int]]:
    """Token ids of a row, and 1 for each that the assistant wrote. `number`: of the row, for the error.

    A token of which a part that is not blank reaches out of the assistant's turn is not marked. Transformers' own mask marks all that follows a turn
    whose last character is in no token (a tokenizer that drops blanks), and nothing after one whose first is in none.

    Raises:
        TemplateUnfit: E7725, the template fails."""
    text, spans = _render(row, tokenizer, number)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), _inside(text, encoded["offset_mapping"], spans)


def _render(row: Mapping[str, Any], tokenizer: Any, number: int | None) -> tuple[str, Sequence[tuple[int, int]]]:
    tools = row["tools"] or None
    try:
        texts, spans = render_jinja_template(
            conversations=[list(row["messages"])],
            tools=tools,
            chat_template=tokenizer.get_chat_template(None, tools),
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    except (TemplateError, TypeError, ValueError, LookupError) as err:
        # without its text: it may quote a prompt
        where = "" if number is None else f" on row {number}"
        raise TemplateUnfit(f"the chat template fails{where} with {type(err).__name__}", row=number) from err
    return texts[0], spans[0]


def _inside(text: str, offsets: Iterable[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """1 for each token that lies within one of `spans`, but for blanks around its word; both in order of characters."""
    starts = [start for start, _ in spans]
    out = []
    for start, end in offsets:
        first, last = _word(text, start, end)
        at = bisect_right(starts, first) - 1
        out.append(int(at >= 0 and first < spans[at][1] and last <= spans[at][1]))
    return out


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blanks at its ends, as a token may have taken the one before a turn; all blanks: as it is."""
    told = text[start:end]
    bare = told.strip()
    return (start + len(told) - len(told.lstrip()), start + len(told.rstrip())) if bare else (start, end)


def _check_mask(row: Mapping[str, Any], ids: Sequence[int], mask: Sequence[int], tokenizer: Any, number: int) -> None:
    said = [message for message in row["messages"] if message["role"] == "assistant"]
    marked = tokenizer.decode([token for token, one in zip(ids, mask, strict=True) if one])
    names = [call["function"]["name"] for message in said for call in message.get("tool_calls", ())]
    if (said and not marked) or any(name not in marked for name in names):
        raise TemplateUnfit(
            f"row {number}: the chat template leaves what the assistant said out of the loss", row=number
        )


_PROBE_CALL = {"id": "c1", "type": "function", "function": {"name": "callword", "arguments": {"keyword": "valueword"}}}
_PROBE_TOOL = {
    "name": "toolword",
    "description": "x",
    "parameters": {"type": "object", "properties": {"p": {"type": "string"}}},
}
_PROBE = {
    "messages": [
        {"role": "user", "content": "askword"},
        {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]},
        {"role": "tool", "tool_call_id": "c1", "name": "callword", "content": "outputword"},
        {"role": "assistant", "content": "sayword"},
    ],
    "tools": [{"type": "function", "function": _PROBE_TOOL}],
}


def check_template(tokenizer: Any) -> None:
    """Ask the template with words that we would know again: what is kept, and what is marked as the assistant's.

    Raises:
        TemplateUnfit: E7725, no template, no marks, or something dropped."""
    if not tokenizer.chat_template:
        raise TemplateUnfit("the base model's tokenizer has no chat template")
    if "generation" not in str(tokenizer.chat_template):
        raise TemplateUnfit(
            "the chat template has no {% generation %} marks, so the loss cannot be kept to the assistant's turns"
        )
    ids, mask = encode(_PROBE, tokenizer)
    whole = tokenizer.decode(ids)
    marked = tokenizer.decode([token for token, one in zip(ids, mask, strict=True) if one])
    wanted = ("callword", "keyword", "valueword", "sayword")
    dropped = [word for word in (*wanted, "askword", "outputword", "toolword") if word not in whole]
    unmarked = [word for word in wanted if word not in marked]
    leaked = [word for word in ("askword", "outputword", "toolword") if word in marked]
    if dropped or unmarked or leaked:
        raise TemplateUnfit(f"the chat template drops {dropped}, does not mark {unmarked}, marks {leaked}")
