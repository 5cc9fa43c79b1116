import json
from pathlib import Path
from typing import Any

import pytest

from l07.backends.parquet import read_rows
from l07.domain.dataset import SPLITS
from l07.errors import BadExport, DatasetChanged, NothingToExport, OutputTaken
from tests.curation import a_conversation, a_row
from tests.formats import a_tokenizer, openai_faults, sharegpt_faults
from tests.versions import a_version

TOOLS = [{"type": "function", "function": {"name": "work", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [a_row("bad", score=4.0, messages=a_conversation("a bad run", "never imitate this"))]
    odd = calling("files.read", a_conversation("read a file", "anything at all"))
    rows += [a_row("odd", messages=odd), a_row("tools", messages=a_conversation("with", "a tool list"), tools=TOOLS)]
    return a_version(tmp_path_factory.mktemp("export"), *rows)


def calling(name: str, talk: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with its calls made to the tool `name`."""
    for message in talk:
        for call in message.get("tool_calls") or ():
            call["function"]["name"] = name
    return talk


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def source(version: Path) -> dict[str, Any]:
    return {row["key"]: row for split in SPLITS for row in read_rows(version, split)}


def test_trl_gets_every_row_of_the_splits_as_it_was_taken_in(l07, version) -> None:
    said = json.loads(l07("datasets", "export", version, "--for", "trl", "--out", "out", "--json").out)
    rows = {row["key"]: row for split in SPLITS for row in lines(Path("out", f"{split}.jsonl"))}
    assert rows.keys() == source(version).keys()
    for key, row in source(version).items():
        assert rows[key]["messages"] == row["messages"]
        assert rows[key].get("tools", []) == row["tools"]
    assert said["digest"] == json.loads((version / "manifest.json").read_text("utf-8"))["digest"]


def test_a_rejected_run_is_in_no_export(l07, version) -> None:
    for shape in ("trl", "openai", "sharegpt"):
        assert l07("datasets", "export", version, "--for", shape, "--out", shape).status == 0
        assert b"never imitate" not in b"".join(path.read_bytes() for path in Path(shape).iterdir())


@pytest.mark.parametrize(("shape", "faults"), [("openai", openai_faults), ("sharegpt", sharegpt_faults)])
def test_every_line_stands_up_to_the_reader_s_rules(l07, version, shape, faults) -> None:
    l07("datasets", "export", version, "--for", shape, "--out", "out")
    found = [line for path in Path("out").glob("*.jsonl") for line in lines(path)]
    assert len(found) >= 20
    assert [fault for line in found for fault in faults(line)] == []


def test_a_row_that_the_format_cannot_hold_is_counted_and_named(l07, version) -> None:
    said = json.loads(l07("datasets", "export", version, "--for", "openai", "--out", "out", "--json").out)
    left = [row for tally in said["splits"].values() for row in tally["left_out_rows"]]
    assert left == [{"key": "execution:odd", "reason": "tool_name"}]
    assert sum(tally["rows"] for tally in said["splits"].values()) == len(source(version)) - 1
    assert json.loads(Path("out", "export.json").read_text("utf-8"))["splits"] == said["splits"]


def test_the_same_version_gives_the_same_bytes(l07, version) -> None:
    for name in ("one", "other"):
        l07("datasets", "export", version, "--for", "sharegpt", "--out", name)
    assert {p.name: p.read_bytes() for p in Path("one").iterdir()} == {
        p.name: p.read_bytes() for p in Path("other").iterdir()
    }


ODD = [
    "שלום עולם",
    "مرحبا",
    "\x00\x1b[31m\u2028\ufeff",
    "😀" * 3,
    '{"not": "a call"}',
    "a\r\nb\n\n",
    "\\\\u0041",
    "x" * 1_000_000,
]


def test_text_of_any_kind_comes_through_whole(l07, tmp_path_factory) -> None:
    rows = [
        a_row(
            f"odd{n}",
            messages=a_conversation(f"task {n}: {text[:200]}", f"deed {n} {text}", answer=f"answer {n} {text}"),
        )
        for n, text in enumerate(ODD)
    ]
    folder = a_version(tmp_path_factory.mktemp("odd"), *rows, others=10)
    kept = {row["key"]: row for row in source(folder).values()}
    assert sum(key.startswith("execution:odd") for key in kept) >= len(ODD) - 1  # a review at most
    for shape in ("trl", "openai", "sharegpt"):
        l07("datasets", "export", folder, "--for", shape, "--out", shape)
        text = {line for split in SPLITS for line in Path(shape, f"{split}.jsonl").read_bytes().splitlines()}
        assert len(text) == len(kept)
        said = {json.dumps(json.loads(line)) for line in text}
        for row in kept.values():
            answer = json.dumps(row["messages"][-1]["content"])
            assert any(answer in line for line in said)


def test_the_train_rows_may_come_easy_first_or_as_the_control_arm(l07, version) -> None:
    import pyarrow.parquet as pq

    ranks = {row["key"]: row for row in pq.read_table(version / "curriculum.parquet").to_pylist()}
    found = {}
    for order, rank in (("curriculum", "rank"), ("shuffled", "rank_shuffled")):
        assert l07("datasets", "export", version, "--for", "trl", "--order", order, "--out", order).status == 0
        found[order] = [row["key"] for row in lines(Path(order, "train.jsonl"))]
        assert found[order] == sorted(ranks, key=lambda key: ranks[key][rank])
        assert json.loads(Path(order, "export.json").read_text("utf-8"))["order"] == order
    assert found["curriculum"] != found["shuffled"]
    said = l07("datasets", "export", version, "--for", "dpo", "--order", "curriculum", "--out", "o")
    assert said.err.startswith(f"{BadExport.code}: dpo has no order")


def test_one_split_may_go_into_one_file(l07, version) -> None:
    args = ("datasets", "export", version, "--for", "trl", "--out", "all/train.jsonl")
    assert l07(*args).err.startswith(f"{BadExport.code}: ")
    assert l07(*args, "--split", "train").status == 0
    assert {row["key"] for row in lines(Path("all/train.jsonl"))} == {r["key"] for r in read_rows(version, "train")}
    assert [path.name for path in Path("all").iterdir()] == ["train.jsonl"]


def test_nothing_is_overwritten_unasked_and_only_an_export_is_replaced(l07, version) -> None:
    args = ("datasets", "export", version, "--for", "trl", "--out", "out")
    assert l07(*args).status == 0
    Path("out", "train.jsonl").write_bytes(b"changed")
    said = l07(*args)
    assert (said.status, said.err.split(":")[0]) == (1, OutputTaken.code)
    assert Path("out", "train.jsonl").read_bytes() == b"changed"
    assert l07(*args, "--force").status == 0
    assert Path("out", "train.jsonl").read_bytes() != b"changed"
    Path("mine").mkdir()
    Path("mine", "thesis.txt").write_text("years of work", "utf-8")
    said = l07(*args[:-1], "mine", "--force")
    assert said.err.startswith(f"{OutputTaken.code}: mine is not an export")
    assert Path("mine", "thesis.txt").read_text("utf-8") == "years of work"
    assert sorted(path.name for path in Path().iterdir()) == ["mine", "out"]


def test_what_cannot_be_exported_leaves_nothing_behind(l07, version, tmp_path_factory) -> None:
    strange = [
        a_row(f"s{n}", messages=calling("files.read", a_conversation(f"{word} file", f"the {word} of them")))
        for n, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth last".split())
    ]
    folder = a_version(tmp_path_factory.mktemp("strange"), *strange, others=0)
    said = l07("datasets", "export", folder, "--for", "openai", "--out", "out")
    assert said.err.startswith(f"{NothingToExport.code}: no row of train, validation, test fits openai")
    assert list(Path().iterdir()) == []


def test_a_version_that_was_changed_is_not_exported(l07, version, tmp_path_factory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "1.0.0"
    for path in sorted(version.rglob("*")):
        (copy / path.relative_to(version)).parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            (copy / path.relative_to(version)).write_bytes(path.read_bytes())
    raw = bytearray((copy / "README.md").read_bytes())
    raw[5] ^= 1
    (copy / "README.md").write_bytes(raw)
    assert l07("datasets", "export", copy, "--for", "trl", "--out", "o").err.startswith(f"{DatasetChanged.code}: ")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what datasets and its friends warn of is theirs
@pytest.mark.parametrize("shape", ["trl", "openai", "sharegpt"])
def test_datasets_reads_every_row_back(l07, version, tmp_path, monkeypatch, shape) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    l07("datasets", "export", version, "--for", shape, "--out", "out")
    loaded = datasets.load_dataset(str(Path("out").resolve()), cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        assert [without_nulls(row) for row in loaded[split]] == [
            without_nulls(line) for line in lines(Path("out", f"{split}.jsonl"))
        ]


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.filterwarnings("default")
def test_trl_renders_messages_and_tools_through_a_chat_template(l07, version, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    l07("datasets", "export", version, "--for", "trl", "--out", "out")
    loaded = datasets.load_dataset(str(Path("out").resolve()), cache_dir=str(tmp_path / "cache"))
    every = {row["key"]: row for split in loaded.values() for row in split}
    row = every["execution:tools"]
    assert trl.is_conversational(row)
    text = trl.apply_chat_template(row, a_tokenizer(), tools=row["tools"])["text"]  # as its SFTTrainer does
    for word in ("with", "a tool list", "done", '"parameters": {"type": "object"}'):
        assert word in text


def without_nulls(value: Any) -> Any:
    """Columns of `datasets` hold None where a line has no such key."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
