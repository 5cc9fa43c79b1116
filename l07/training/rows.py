"""Dataset rows become token ids and labels: what the assistant said is learned from, all else is only read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.errors import DatasetDiffers, TemplateUnfit
from l07.training.files import file_digests

IGNORED = -100  # a label that the loss skips


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row, ready to train on."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Rows that fit, and how many did not."""

    rows: list[Tokens]
    too_long: int


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
    """Token ids with labels on the assistant's tokens; a row of more than `max_length` tokens is left out and counted.

    Raises:
        TemplateUnfit: E7725, a row whose calls the template drops, or in which it marks nothing."""
    out: list[Tokens] = []
    too_long = 0
    for number, row in enumerate(rows):
        ids, mask = encode(row, tokenizer)
        if len(ids) > max_length:
            too_long += 1
            continue
        _check_mask(row, ids, mask, tokenizer, number)
        out.append(Tokens(ids, [token if marked else IGNORED for token, marked in zip(ids, mask, strict=True)]))
    return Tokenised(out, too_long)


def encode(row: Mapping[str, Any], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of a row, and 1 for each that the assistant wrote."""
    encoded = tokenizer.apply_chat_template(
        row["messages"], tools=row["tools"] or None, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return list(encoded["input_ids"]), list(encoded["assistant_masks"])


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
