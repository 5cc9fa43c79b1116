"""What is told of everyone while a version is written is what its files say afterwards."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from l07.backends.parquet import read_manifest, writing
from l07.backends.parquet import state as states
from l07.backends.parquet.everyone import everyone
from l07.backends.parquet.reading import members_table
from l07.backends.parquet.state import State, state_of
from l07.backends.parquet_beside import Everyone, _as_met
from l07.domain.example import FEATURES
from l07.pipeline.curate.columns import BOOKS
from tests.curation import a_conversation, a_revision, a_row, a_world
from tests.versions import a_version


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Everyone]:
    """Of each version that is written."""
    found: list[Everyone] = []

    def kept(output: Path, members: Everyone, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found.append(members)
        return write_beside(output, members, *args, **kwargs)

    write_beside = writing.write_beside
    monkeypatch.setattr(writing, "write_beside", kept)
    return found


def test_what_is_told_while_a_version_is_written_is_what_its_files_say(told: list[Everyone], tmp_path: Path) -> None:
    rows = a_world(5, tasks=20, runs=30)
    first = a_version(tmp_path, *rows)
    own = [a_row(f"own{n}", messages=a_conversation(f"an own task {n}"), model_version="m:1") for n in range(3)]
    anew = [a_revision(row.key.split(":")[1], score=95.0, confidence=0.99) for row in rows[:4]]
    second = a_version(tmp_path, *own, *anew, parent=first, number=2, others=5)
    for folder, members in zip((first, second), told, strict=True):
        state = State.read(folder, read_manifest(folder))
        assert as_lists(everyone(state.roll().columns, {}, state)) == as_lists(members)
        table = members_table(folder, ("key", "batch_id", "model_version", "features", "confidence", "table"))
        assert members.keys.to_pylist() == table["key"].to_pylist()
        assert [members.batches[n] for n in members.batch] == table["batch_id"].to_pylist()
        assert [members.models[n] for n in members.model] == table["model_version"].to_pylist()
        assert members.confidence.tolist() == table["confidence"].to_pylist()
        lengths = [row[FEATURES.index("trace_chars")] if row else 0.0 for row in table["features"].to_pylist()]
        assert members.length.tolist() == lengths


def as_lists(members: Everyone) -> dict[str, Any]:
    """But for the columns and the books: a number stands for the same name."""
    plain = {
        one.name: getattr(members, one.name).tolist()
        for one in fields(members)
        if one.name in ("difficulty", "confidence", "length")
    }
    return plain | {"keys": members.keys.to_pylist(), "tables": members.columns.table.tolist()}


def test_features_are_the_same_whether_they_were_read_before_or_not(tmp_path: Path) -> None:
    folder = a_version(tmp_path, *a_world(5, tasks=20, runs=30))
    asked, fresh = (State.read(folder, read_manifest(folder)) for _ in range(2))
    everyone = np.arange(len(fresh.columns))
    wanted = fresh.features(everyone)
    for rows in ([3, 1], [1, 4, 2], [], everyone[::-1]):
        at = np.asarray(rows, np.int64)
        assert asked.features(at).tolist() == wanted[at].tolist()


def test_what_a_build_leaves_in_memory_is_what_its_files_say(tmp_path: Path) -> None:
    rows = a_world(5, tasks=20, runs=30)
    first = a_version(tmp_path, *rows)
    anew = [a_revision(row.key.split(":")[1], score=95.0, confidence=0.99) for row in rows[:4]]
    second = a_version(tmp_path, *a_world(6, tasks=20, runs=30), *anew, parent=first, number=2)
    third = a_version(tmp_path, a_revision(rows[9].key.split(":")[1], score=3.0), parent=second, number=3, others=0)
    kept, read = state_of(third, read_manifest(third)), State.read(third, read_manifest(third))
    assert kept.columns is state_of(third, read_manifest(third)).columns, "it was left, not read"
    assert in_names(kept) == in_names(read)
    everyone = range(len(read.columns))
    assert kept.members(everyone) == read.members(everyone)
    assert len(kept.stands) > 1
    assert all(kept.standing(one).equals(read.standing(one)) for one in kept.segments)
    assert repr(kept.members(everyone)) == repr(read.members(everyone)), "of the same types"
    assert kept.features(np.arange(len(everyone))).tolist() == read.features(np.arange(len(everyone))).tolist()


def test_rows_that_changed_last_are_told_without_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MOST_RECENT", 20)
    first = a_version(tmp_path, *a_world(5, tasks=20, runs=30))
    second = a_version(tmp_path, parent=first, number=2, others=12)
    manifest = read_manifest(second)
    kept, read = state_of(second, manifest), State.read(second, manifest)
    assert len(kept.recent) == 20
    assert kept.recent.keys() >= set(range(50, 62)), "the newest stay"
    told = read.members(list(kept.recent))
    monkeypatch.setattr(State, "rows_in", lambda *_: pytest.fail("a file was read"))
    assert kept.members(list(kept.recent)) == told
    assert kept.features(np.arange(len(read.columns))).shape == (len(read.columns), len(FEATURES))
    with pytest.raises(pytest.fail.Exception):
        kept.members(range(len(read.columns)))


def test_what_is_left_in_memory_is_of_these_very_files(tmp_path: Path) -> None:
    folder = a_version(tmp_path, *a_world(5, tasks=20, runs=30))
    manifest = read_manifest(folder)
    assert state_of(folder, manifest).columns is state_of(folder, manifest).columns
    name = next(name for name in manifest["files"] if name.startswith("standing/"))
    other = {**manifest, "files": {**manifest["files"], name: {"sha256": "0" * 64, "bytes": 1}}}
    assert state_of(folder, other).columns is not state_of(folder, manifest).columns


def in_names(state: State) -> dict[str, Any]:
    """All that is known of every row, names in the place of numbers, which two books may give in another order."""
    columns, told, tasks = state.columns, state.told, state.columns.tasks.names
    plain = {one.name: getattr(columns, one.name) for one in fields(columns) if one.name not in BOOKS.values()}
    found = {name: column.tolist() for name, column in plain.items() if name not in BOOKS}
    found |= {name: [getattr(columns, BOOKS[name]).names[code] for code in plain[name]] for name in BOOKS}
    found |= as_lists(told) | {"placed": state.placed.tolist()}
    found |= {"batch": [told.batches[n] for n in told.batch], "model": [told.models[n] for n in told.model]}
    groups = zip(tasks, state.grouping.group.tolist(), state.grouping.split.tolist(), strict=True)
    return found | {"groups": {task: (tasks[group], split) for task, group, split in groups}}


def test_keys_are_found_however_often_they_are_asked_for(tmp_path: Path) -> None:
    folder = a_version(tmp_path, *a_world(5, tasks=20, runs=30))
    state = State.read(folder, read_manifest(folder))
    keys = state.told.keys.to_pylist()
    assert state.find([keys[7], "execution:nobody", keys[0], keys[7]]) == [7, -1, 0, 7]
    assert state.find([]) == []


def test_numbers_as_met_are_those_of_a_dictionary() -> None:
    rng = np.random.default_rng(3)
    for size in (0, 1, 5, 400):
        codes = rng.integers(0, 30, size).astype("i4")
        assert _as_met(codes).tolist() == pc.dictionary_encode(pa.array(codes)).indices.to_pylist()
