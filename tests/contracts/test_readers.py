"""What we write, read back by the programs that it is for, where they are installed: Croissant by mlcroissant, ShareGPT by
LLaMA-Factory's own converter and formatter, fine-tuning lines by the types of OpenAI's client. They bring more packages than
this project has, so no extra names them; without them `tests/formats.py` holds the same rules, written anew."""

import importlib.machinery
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from l07.backends.exporting import ExportRequest, export
from l07.backends.parquet import read_rows
from l07.domain.dataset import SPLITS
from tests.curation import a_conversation, a_row
from tests.versions import a_version

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # what they warn of is theirs

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "work", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "rest"}},
    {
        "type": "function",
        "function": {
            "name": "wait",
            "description": "for a while",
            "parameters": {
                "type": "object",
                "properties": {
                    "days": {"type": "integer", "enum": [1, 2]},
                    "of": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One whose tables are a file each, and one whose tables are several."""
    root = tmp_path_factory.mktemp("read")
    rows = [
        a_row("bad", score=4.0, messages=a_conversation("a bad run", "never imitate this")),
        a_row("odd", messages=a_conversation("שלום 😀", 'a "deed" \\ of\u2028two lines')),
        a_row("tools", messages=a_conversation("with", "a tool list"), tools=TOOLS),
        a_row("two", messages=two_calls()),
    ]
    first = a_version(root, *rows)
    return first, a_version(root, parent=first, number=2)


def two_calls() -> list[dict[str, Any]]:
    talk = a_conversation("do two things at once", "a deed of two calls")
    call = talk[1]["tool_calls"][0]
    talk[1]["tool_calls"].append({**call, "id": "other", "function": {**call["function"], "name": "rest"}})
    talk.insert(3, {"role": "tool", "tool_call_id": "other", "content": "rested"})
    return talk


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        yield from map(json.loads, (folder / f"{split}.jsonl").read_bytes().splitlines())


def test_mlcroissant_finds_nothing_wrong_and_reads_what_the_tables_hold(versions: tuple[Path, Path]) -> None:
    mlc = pytest.importorskip("mlcroissant")
    for folder in versions:
        dataset = mlc.Dataset(jsonld=str(folder / "croissant.json"))
        assert dataset.metadata.issues.errors == set()
        tables = [one.id for one in dataset.metadata.record_sets]
        assert {*SPLITS, "contrast", "curriculum"} <= set(tables)
        for table in SPLITS:
            found = {record[f"{table}/key"].decode(): record for record in dataset.records(table)}
            stored = {row["key"]: row for row in read_rows(folder, table)}
            assert found.keys() == stored.keys()
            for key, row in stored.items():
                said = [part[f"{table}/messages/content"] for part in found[key][f"{table}/messages"]]
                assert [None if text is None else text.decode() for text in said] == [
                    message.get("content") for message in row["messages"]
                ]
                assert found[key][f"{table}/quality_score"] == row["quality_score"]
                assert found[key][f"{table}/goal"].decode() == row["goal"]
        assert len(list(dataset.records("curriculum"))) == len(read_rows(folder, "train"))


def test_llama_factory_takes_every_conversation_and_reads_its_calls_and_tools(
    versions: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llamafactory")
    for name in ("torchaudio", "omegaconf"):  # of sound, and of its command line: neither is asked here
        if not importlib.util.find_spec(name):
            monkeypatch.setitem(sys.modules, name, hollow(name))
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.formatter import FunctionFormatter, ToolFormatter
    from llamafactory.data.parser import get_dataset_list

    export(ExportRequest(versions[1], "sharegpt", tmp_path / "out"))
    attributes = get_dataset_list([f"default_{split}" for split in SPLITS], str(tmp_path / "out"))
    assert [one.dataset_name for one in attributes] == [f"{split}.jsonl" for split in SPLITS]
    calls, tools = FunctionFormatter(slots=["{{content}}"], tool_format="default"), ToolFormatter(tool_format="default")
    convert = get_dataset_converter(attributes[0].formatting, attributes[0], None)
    rendered = {}
    for line in lines(tmp_path / "out"):
        taken = convert(line)
        turns = [*taken["_prompt"], *taken["_response"]]
        assert [turn["content"] for turn in turns] == [turn["value"] for turn in line["conversations"]], (
            "it skips what breaks its order"
        )
        said = [calls.apply(content=turn["content"])[0] for turn in turns if turn["role"] == "function"]
        described = tools.apply(content=taken["_tools"]) if taken["_tools"] else ""  # as its template does
        rendered[line["key"]] = (said, described)
    assert len(rendered) == sum(len(read_rows(versions[1], split)) for split in SPLITS)
    [two] = rendered["execution:two"][0]
    assert "work" in two
    assert "rest" in two
    assert all(word in str(rendered["execution:tools"][1]) for word in ("work", "rest", "days", "one of [1, 2]"))


def hollow(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__["OmegaConf"] = object
    return module


def test_openai_s_own_types_take_every_line_whole(versions: tuple[Path, Path], tmp_path: Path) -> None:
    """A key that its types do not know would be missing from what they give back."""
    types = pytest.importorskip("openai.types.chat")
    from pydantic import TypeAdapter

    export(ExportRequest(versions[1], "openai", tmp_path / "out"))
    messages = TypeAdapter(list[types.ChatCompletionMessageParam])
    tools = TypeAdapter(list[types.ChatCompletionToolParam])
    found = list(lines(tmp_path / "out"))
    assert len(found) == sum(len(read_rows(versions[1], split)) for split in SPLITS)
    for line in found:
        for adapter, part in ((messages, line["messages"]), (tools, line.get("tools", []))):
            assert json.loads(adapter.dump_json(adapter.validate_python(part))) == part
