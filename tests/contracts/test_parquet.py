"""A version as files: what is written is what is read, by us, by pyarrow and by datasets; a change is found."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l07.backends.parquet import (
    data_files,
    read_about,
    read_lineage,
    read_manifest,
    read_members,
    read_parent,
    read_rows,
    verify,
    write_version,
)
from l07.domain.dataset import version_digest
from l07.domain.deeds import DEEDS
from l07.domain.quality import CurateRules
from l07.errors import DatasetChanged, DatasetUnreadable
from l07.pipeline.curate.build import DatasetWarning, Draft, build
from tests.curation import a_batch, a_conversation, a_revision, a_row, a_task_each

RULES = CurateRules()


def published(folder: Path, draft: Draft, *, parent: Path | None = None) -> Path:
    output = folder / str(draft.number)
    write_version(draft, output, parent=parent, track="default", rules=RULES, batches=["default-1"], golden=None)
    return output


def a_draft(*rows: Any, count: int = 20) -> Draft:
    draft = build([a_batch([*a_task_each(count), *rows])], RULES)
    assert isinstance(draft, Draft)
    return draft


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return published(tmp_path, a_draft(a_row("bad", score=4.0)))


def test_a_row_comes_back_as_it_was_taken_in(version: Path) -> None:
    draft = a_draft()
    rows = {row["key"]: row for table in ("train", "validation", "test") for row in read_rows(version, table)}
    assert rows.keys() == draft.examples.keys()
    for key, example in draft.examples.items():
        said = [{k: v for k, v in message.items() if v is not None or k == "content"} for message in example.messages]
        assert rows[key]["messages"] == said
        assert rows[key]["messages"][1]["tool_calls"][0]["function"]["arguments"].keys() == {"what"}
        assert (rows[key]["goal"], rows[key]["quality_score"], rows[key]["task_id"]) == (
            example.goal,
            90.0,
            example.task_id,
        )


def test_arguments_of_any_shape_come_back(tmp_path: Path) -> None:
    shapes: list[Any] = [{}, {"a": None}, {"a": [1, {"b": "ü"}], "c": 1.5}, {"x" * 300: True}]
    talk = a_conversation("many shapes", *("-" * n for n in range(len(shapes))))
    for message, shape in zip((m for m in talk if m.get("tool_calls")), shapes, strict=True):
        message["tool_calls"][0]["function"]["arguments"] = json.dumps(shape)
    folder = published(
        tmp_path, a_draft(a_row("odd", messages=talk, tools=[{"type": "function", "function": {"name": "work"}}]))
    )
    row = next(r for t in ("train", "validation", "test") for r in read_rows(folder, t) if r["key"] == "execution:odd")
    calls = [
        message["tool_calls"][0]["function"]["arguments"] for message in row["messages"] if message.get("tool_calls")
    ]
    assert calls == shapes
    assert row["tools"] == [{"type": "function", "function": {"name": "work"}}]


def test_the_parent_that_is_read_is_the_draft_that_was_written(tmp_path: Path) -> None:
    draft = a_draft(a_row("bad", score=4.0))
    parent = read_parent(published(tmp_path, draft))
    assert dict(parent.members) == dict(draft.members)
    assert list(parent.groups) == list(draft.groups)
    assert (parent.version, dict(parent.meaning)) == ("1.0.0", dict(draft.meaning))
    key = next(iter(draft.examples))
    assert parent.bodies({key: parent.roll.find([key])[0]})[key].goal == draft.examples[key].goal


def test_a_second_version_takes_the_texts_of_the_first(tmp_path: Path) -> None:
    first = published(tmp_path, a_draft(a_row("x", messages=a_conversation("unlike", "any other"))))
    batch = a_batch([a_revision("x", score=10.0), *a_task_each(3, prefix="n")], number=2)
    draft = build([batch], RULES, parent=read_parent(first))
    assert isinstance(draft, Draft)
    second = published(tmp_path, draft, parent=first)
    assert {row["key"] for row in read_rows(second, "contrast")} == {"execution:x"}
    assert read_rows(second, "contrast")[0]["quality_score"] == 10.0
    assert sum(len(read_rows(second, table)) for table in ("train", "validation", "test")) == 23
    lines = [line for line in read_lineage(second) if line["key"] == "execution:x"]
    assert [line["batch_id"] for line in lines] == ["default-1", "default-2"]
    assert verify(second)["digest"] == version_digest(read_parent(second).members.values())


def test_deeds_are_stored_and_tie_a_later_paraphrase_to_the_split_of_the_first(tmp_path: Path) -> None:
    deed = "select the name of every singer there is"
    first = published(tmp_path, a_draft(a_row("x", messages=a_conversation("who sings", deed))))
    later = a_row("y", messages=a_conversation("all the voices of this place in a list, please", deed))
    draft = build([a_batch([later], number=2)], RULES, parent=read_parent(first))
    assert isinstance(draft, Draft)
    assert draft.members["execution:y"].group == draft.members["execution:x"].group == "home/x"
    assert read_manifest(first)["deeds"] == DEEDS


def test_scores_model_and_hashed_subject_are_kept_with_the_row(tmp_path: Path) -> None:
    rows = a_task_each(40, subject_id="person 17", model_version="default:2.0.0")
    draft = build([a_batch(rows)], RULES, hashed=lambda name: f"hash of {len(name)}")
    assert isinstance(draft, Draft)
    folder = published(tmp_path, draft)
    member = read_members(folder)[0]
    assert (member["subject"], member["model_version"]) == ("hash of 9", "default:2.0.0")
    assert member["scores"].keys() == {"outlier_rank", "outlier_z"}
    assert dict(read_parent(folder).members) == dict(draft.members)
    assert b"person 17" not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_warning_stands_in_the_manifest(tmp_path: Path) -> None:
    draft = replace(a_draft(), warnings=[DatasetWarning("large_cluster", "one cluster has 9 of 20 rows")])
    assert read_manifest(published(tmp_path, draft))["warnings"] == [
        {"name": "large_cluster", "message": "one cluster has 9 of 20 rows"}
    ]


def test_every_run_is_listed_with_its_reason(version: Path) -> None:
    members = {row["key"]: row for row in read_members(version)}
    assert members["execution:bad"]["table"] == "contrast"
    assert members["execution:bad"]["reasons"] == ["quality_score"]
    assert "sketch" not in members["execution:bad"]


def test_the_same_draft_gives_the_same_digest(tmp_path: Path) -> None:
    one, other = published(tmp_path / "a", a_draft()), published(tmp_path / "b", a_draft())
    assert read_manifest(one) == read_manifest(other)


@pytest.mark.parametrize(
    "name", ["data/test-*", "README.md", "groups.parquet", "runs/*", "standing/*", "provenance/*", "sketches/*"]
)
def test_a_flipped_byte_is_found_and_named(name: str, version: Path) -> None:
    path = next(version.glob(name))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DatasetChanged) as raised:
        read_parent(version)
    assert raised.value.context["file"] == path.relative_to(version).as_posix()


def test_a_missing_file_and_an_extra_one_are_found(version: Path) -> None:
    (version / "extra.txt").write_text("hello", "utf-8")
    with pytest.raises(DatasetChanged, match=r"extra\.txt"):
        verify(version)
    (version / "extra.txt").unlink()
    data_files(version, "train")[0].unlink()
    with pytest.raises(DatasetChanged, match="is missing"):
        verify(version)


def test_a_version_of_an_older_layout_is_refused_with_what_to_do(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text("utf-8"))
    (version / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}), "utf-8")
    with pytest.raises(DatasetUnreadable, match=r"schema 1; this release reads 2 to 3\. Send the runs again"):
        read_parent(version)


def as_schema_2(version: Path, folder: Path) -> Path:
    """The same version as the release before would have written it."""
    (folder / "data").mkdir(parents=True)
    for table in ("train", "validation", "test", "contrast", "review"):
        rows = pa.concat_tables([pq.read_table(path) for path in data_files(version, table)])
        pq.write_table(rows, folder / f"data/{table}-00000-of-00001.parquet")
    parent = read_parent(version)
    members = [msgspec.structs.asdict(member) for member in parent.members.values()]
    for member in members:
        for name in ("scores", "model_version", "subject"):
            member.pop(name)
    pq.write_table(pa.Table.from_pylist(members), folder / "members.parquet")
    pq.write_table(pa.Table.from_pylist(read_lineage(version)), folder / "provenance.parquet")
    (folder / "groups.json").write_text(json.dumps([asdict(group) for group in parent.groups]), "utf-8")
    manifest = read_manifest(version)
    for name in ("segments", "shards", "writes", "warnings"):
        manifest.pop(name)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for name, path in files.items()
    }
    manifest["meaning"]["schema"] = 2
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}), "utf-8")
    return folder


@pytest.mark.parametrize("layout", ["segments", "schema 2"])
def test_whoever_asks_about_some_rows_gets_those_with_their_events_and_group(
    version: Path, tmp_path: Path, layout: str
) -> None:
    folder = version if layout == "segments" else as_schema_2(version, tmp_path / "old")
    everyone = {member["key"]: member for member in read_members(folder)}
    found = {member["key"]: member for member in read_about(folder, ["execution:bad", "execution:e001", "nobody"])}
    assert found.keys() == {"execution:bad", "execution:e001"}
    for key, member in found.items():
        assert {name: member[name] for name in everyone[key]} == everyone[key]
        assert (member["group_tasks"], member["group_rows"]) == ([member["task"]], 1)
        assert [line["trace_at"] for line in member["events"]] == [
            line["trace_at"] for line in read_lineage(folder) if line["key"] == key
        ]
    assert read_about(folder, ["nobody"]) == []


def test_a_version_of_schema_2_is_taken_over_whole(version: Path, tmp_path: Path) -> None:
    old = as_schema_2(version, tmp_path / "old")
    assert len(read_members(old)) == 21
    draft = build(
        [a_batch([a_revision("bad", score=95.0), *a_task_each(1, prefix="n")], number=2)],
        RULES,
        parent=read_parent(old),
    )
    assert isinstance(draft, Draft)
    assert str(draft.number) == "2.0.0"
    new = published(tmp_path, draft, parent=old)
    assert verify(new)["digest"] == version_digest(read_parent(new).members.values())
    assert dict(read_parent(new).members) == dict(draft.members)
    assert sum(len(read_rows(new, table)) for table in ("train", "validation", "test")) == 22
    assert len(read_lineage(new)) == 23


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', None])
def test_a_manifest_that_cannot_be_read_is_refused(text: str | None, version: Path) -> None:
    (version / "manifest.json").unlink()
    if text is not None:
        (version / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(DatasetUnreadable):
        verify(version)


def test_a_file_that_is_no_parquet_is_refused(version: Path) -> None:
    data_files(version, "train")[0].write_bytes(b"not parquet")
    with pytest.raises(DatasetUnreadable):
        read_rows(version, "train")


def test_the_tables_are_zstd(version: Path) -> None:
    assert pq.ParquetFile(data_files(version, "train")[0]).metadata.row_group(0).column(0).compression == "ZSTD"


def test_empty_tables_are_files_too(version: Path) -> None:
    assert read_rows(version, "review") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what datasets and its friends warn of is theirs
def test_datasets_reads_splits_contrast_and_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = published(tmp_path, a_draft(a_row("bad", score=4.0)))
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == read_manifest(folder)["splits"]
    call = loaded["train"][0]["messages"][1]["tool_calls"][0]
    assert isinstance(call["function"]["arguments"], dict)
    assert loaded["train"][0]["tools"] == []
    contrast = datasets.load_dataset(str(folder), "contrast", cache_dir=str(tmp_path / "cache"))["contrast"]
    assert contrast["key"][:] == ["execution:bad"]
    assert datasets.get_dataset_config_names(str(folder)) == [
        "default",
        "contrast",
        "curriculum",
    ]  # review has no rows
    order = datasets.load_dataset(str(folder), "curriculum", cache_dir=str(tmp_path / "cache"))["train"]
    assert set(order["key"]) == set(loaded["train"]["key"])
    assert order["rank"][:] == list(range(len(order)))


def test_the_rules_stand_in_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    rules = replace(RULES, seed=11)
    write_version(a_draft(), folder, parent=None, track="t", rules=rules, batches=["t-1"], golden="sha256:0")
    manifest = read_manifest(folder)
    assert (manifest["seed"], manifest["config"]["seed"], manifest["golden"]) == (11, 11, "sha256:0")
    assert manifest["sketch"]["scheme"] == "minhash-multiply-shift-64"
