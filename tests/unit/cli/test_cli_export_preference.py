"""Pairs and labels of a version, as TRL reads them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from l07.backends.parquet import read_members, read_rows
from l07.errors import NothingToExport
from tests.curation import a_conversation, a_row, words
from tests.formats import a_tokenizer
from tests.versions import a_version


def attempts(task: str, goal: str, *scores: float, **more: Any) -> list[Any]:
    """Runs of one task that begin alike and do different things."""
    return [
        a_row(f"{task}-{n}", score=score, task_id=task, messages=a_conversation(goal, words(random.Random(f"{task}{n}"), 30)), **more)
        for n, score in enumerate(scores)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(5)
    rows = [row for n in range(24) for row in attempts(f"t{n:02}", words(rng, 12), 95.0, 90.0, 10.0, 20.0)]
    unsure = attempts("unsure", words(rng, 12), 95.0, 10.0)
    rows += [unsure[0], unsure[1]._replace(reasons=("low_score", "low_confidence"), confidence=0.3)]
    return a_version(tmp_path_factory.mktemp("pairs"), *rows, others=4)


def lines(name: str) -> dict[str, list[Any]]:
    found = {path.stem: path.read_bytes().splitlines() for path in Path(name).glob("*.jsonl")}
    return {split: [json.loads(line) for line in some] for split, some in found.items()}


def test_a_pair_holds_the_turns_in_which_two_runs_part(l07, version, monkeypatch) -> None:
    monkeypatch.setenv("L07_CONTRAST__COMPARE", "turn")
    l07("datasets", "export", version, "--for", "dpo", "--out", "out")
    source = {row["key"]: row for t in ("train", "validation", "test", "contrast") for row in read_rows(version, t)}
    pairs = [pair for split in lines("out").values() for pair in split]
    assert len(pairs) >= 10
    for pair in pairs:
        for side in ("chosen", "rejected"):
            (turn,) = pair[side]
            assert [*pair["prompt"], turn] == source[pair[f"{side}_key"]]["messages"][: len(pair["prompt"]) + 1]
        assert pair["chosen"][0]["tool_calls"][0]["function"] != pair["rejected"][0]["tool_calls"][0]["function"]


def test_a_pair_holds_two_runs_whole_where_the_settings_say_so(l07, version, monkeypatch) -> None:
    monkeypatch.setenv("L07_CONTRAST__COMPARE", "run")
    said = json.loads(l07("datasets", "export", version, "--for", "dpo", "--out", "out", "--json").out)
    source = {row["key"]: row for t in ("train", "validation", "test", "contrast") for row in read_rows(version, t)}
    found = lines("out")
    assert sum(map(len, found.values())) == said["preference"]["length_after"]["pairs"] >= 10
    for pair in (pair for split in found.values() for pair in split):
        for side in ("chosen", "rejected"):
            assert pair["prompt"] + pair[side] == source[pair[f"{side}_key"]]["messages"]
            assert pair[side][0]["role"] == "assistant"
        assert [message["role"] for message in pair["prompt"]] == ["user"]
        assert pair["margin"] > 0


def test_both_sides_of_a_pair_belong_to_the_split_of_its_file(l07, version) -> None:
    l07("datasets", "export", version, "--for", "dpo", "--out", "out")
    members = {row["key"]: row for row in read_members(version)}
    found = lines("out")
    assert len(found) > 1
    for split, pairs in found.items():
        for pair in pairs:
            one, other = members[pair["chosen_key"]], members[pair["rejected_key"]]
            assert {one["split"], other["split"]} == {split}
            assert (one["table"], other["decision"]) == (split, "REJECT")
            assert one["task"] == other["task"]


def test_labels_say_of_each_run_whether_it_was_accepted(l07, version) -> None:
    said = json.loads(l07("datasets", "export", version, "--for", "kto", "--out", "out", "--json").out)["preference"]
    members = {row["key"]: row for row in read_members(version)}
    rows = [row for split in lines("out").values() for row in split]
    assert said["desirable"] == said["undesirable"] == len(rows) / 2 > 10
    for row in rows:
        assert row["label"] is (members[row["key"]]["decision"] == "ACCEPT")
        assert row["completion"][-1]["role"] == "assistant"


def test_a_run_with_a_doubtful_score_is_in_neither(l07, version) -> None:
    for shape in ("dpo", "kto"):
        l07("datasets", "export", version, "--for", shape, "--out", shape)
        text = b"".join(path.read_bytes() for path in Path(shape).iterdir())
        assert b"t03-0" in text or b"t04-0" in text
        assert b"unsure-1" not in text


def test_the_settings_decide_the_margin(l07, version, monkeypatch) -> None:
    monkeypatch.setenv("L07_CONTRAST__MIN_MARGIN", "99")
    said = l07("datasets", "export", version, "--for", "dpo", "--out", "out")
    assert said.err.startswith(f"{NothingToExport.code}: ")
    assert list(Path().iterdir()) == []


def test_the_same_version_gives_the_same_pairs(l07, version) -> None:
    for name in ("one", "other"):
        l07("datasets", "export", version, "--for", "dpo", "--out", name)
    assert Path("one", "train.jsonl").read_bytes() == Path("other", "train.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what datasets and its friends warn of is theirs
@pytest.mark.parametrize(
    ("shape", "columns"),
    [("dpo", {"prompt", "chosen", "rejected", "margin"}), ("kto", {"prompt", "completion", "label"})],
)
def test_datasets_reads_the_columns_that_trl_asks_for(l07, version, tmp_path, monkeypatch, shape, columns) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    l07("datasets", "export", version, "--for", shape, "--out", "out")
    loaded = datasets.load_dataset(str(Path("out").resolve()), cache_dir=str(tmp_path / "cache"))
    assert columns <= set(loaded["train"].column_names)
    assert {split: len(rows) for split, rows in loaded.items()} == {
        split: len(rows) for split, rows in lines("out").items()
    }
    row = loaded["train"][0]
    assert row["prompt"] == lines("out")["train"][0]["prompt"]


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("shape", "sides"), [("dpo", ("chosen", "rejected")), ("kto", ("completion",))])
def test_trl_renders_prompt_and_completions_through_a_chat_template(
    l07, version, tmp_path, monkeypatch, shape, sides
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    l07("datasets", "export", version, "--for", shape, "--out", "out")
    for row in datasets.load_dataset(str(Path("out").resolve()), cache_dir=str(tmp_path / "cache"))["train"]:
        assert trl.is_conversational(row)
        text = trl.apply_chat_template({name: row[name] for name in ("prompt", *sides)}, a_tokenizer())
        assert row["prompt"][0]["content"] in text["prompt"]
        for side in sides:
            assert json.dumps(row[side][0]["tool_calls"][0]["function"]["name"]) in text[side]
