"""Version after version in files: what stays is linked, what moves is written, and the rows are those of a build in
memory."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from l07.backends.parquet import (
    Bodies,
    files,
    read_groups,
    read_lineage,
    read_manifest,
    read_members,
    read_parent,
    read_rows,
    shards,
    verify,
    write_version,
)
from l07.domain.dataset import TABLES
from l07.domain.quality import CurateRules
from l07.errors import DatasetChanged
from l07.pipeline.curate.build import Draft, build
from l07.ports import SealedBatch, SealedRow
from tests.curation import Shelf, a_batch, a_conversation, a_revision, a_row, a_task_each, a_world, versions

RULES = CurateRules()


def chain(batches: Sequence[SealedBatch], root: Path) -> Iterator[tuple[Path, Draft]]:
    """Each version in a folder of its own, built on the folder before; a refused batch joins the next."""
    parent: Path | None = None
    waiting: list[SealedBatch] = []
    for number, batch in enumerate(batches):
        waiting.append(batch)
        draft = build(waiting, RULES, parent=read_parent(parent) if parent else None, hold=Bodies())
        if isinstance(draft, Draft):
            folder, waiting = root / f"{number:03}", []
            write_version(draft, folder, parent=parent, track="t", rules=RULES, batches=["t-1"], golden=None)
            parent = folder
            yield folder, draft


def newest(batches: Sequence[SealedBatch], root: Path) -> Path:
    return list(chain(batches, root))[-1][0]


def in_batches(rows: Sequence[SealedRow], size: int) -> list[SealedBatch]:
    return [a_batch(rows[n : n + size], number=n // size + 1) for n in range(0, len(rows), size)]


def data_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder / "data").iterdir()}


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row | {"table": table} for table in TABLES for row in read_rows(folder, table)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_versions_in_files_are_those_in_memory(seed: int, tmp_path: Path) -> None:
    rows = a_world(seed, tasks=150, runs=240, twins=0.2)
    revised = [a_revision(row.key.split(":")[1], score=20.0 + 10 * n) for n, row in enumerate(rows[:120:17])]
    batches = [*in_batches(rows, 20), a_batch(revised, number=20), a_batch(a_task_each(3, prefix="z"), number=21)]
    memory = [draft for draft, _ in versions(batches, lambda waiting, parent: build(waiting, RULES, parent=parent))]
    made = list(chain(batches, tmp_path))
    assert [draft.digest for _, draft in made] == [draft.digest for draft in memory]
    folder = made[-1][0]
    members = {row["key"]: row for row in read_members(folder)}
    stored = rows_of(folder)
    assert stored.keys() == {key for key, row in members.items() if row["table"]}
    for key, row in stored.items():
        assert {name: row[name] for name in ("table", "group", "split", "quality_score", "decision", "reasons")} == {
            name: members[key][name] for name in ("table", "group", "split", "quality_score", "decision", "reasons")
        }
    assert {task: group["split"] for group in read_groups(folder) for task in group["tasks"]} == {
        task: group.split for group in memory[-1].groups for task in group.tasks
    }
    assert dict(read_parent(folder).members) == dict(memory[-1].members)
    assert len(read_lineage(folder)) == sum(len(draft.lineage) for _, draft in made) > 200


@pytest.mark.slow
def test_files_stay_few_and_every_version_is_whole_after_all_the_others_are_gone(tmp_path: Path) -> None:
    batches = [a_batch(a_task_each(12, prefix=f"b{n:02}", seed=n), number=n + 1) for n in range(20)]
    *older, (last, _) = list(chain(batches, tmp_path))
    manifest = read_manifest(last)
    assert len(manifest["segments"]) < 2 * shards.FAN
    assert sum(shard["table"] == "train" for shard in manifest["shards"]) < 2 * shards.FAN
    for folder, _ in older:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert verify(last) == manifest
    assert len(rows_of(last)) == 240


def test_what_stays_is_the_same_file_in_both_folders(tmp_path: Path) -> None:
    folders = [
        folder
        for folder, _ in chain([a_batch(a_task_each(20)), a_batch(a_task_each(4, prefix="n"), number=2)], tmp_path)
    ]
    before, after = map(data_of, folders)
    assert before.items() <= after.items()
    assert len(after) > len(before)
    assert (folders[0] / "runs/00001.parquet").samefile(folders[1] / "runs/00001.parquet")


def test_a_shard_that_loses_a_row_is_written_alone(tmp_path: Path) -> None:
    first = a_batch(a_task_each(40))
    draft = build([first], RULES)
    assert isinstance(draft, Draft)
    key = next(member.key for member in draft.members.values() if member.table == "train")
    worse = a_batch([a_revision(key.split(":")[1], score=1.0)], number=2)
    folders = [folder for folder, _ in chain([first, worse], tmp_path)]
    before, after = map(data_of, folders)
    assert {name.split("-")[0] for name in before if name not in after} == {"train", "contrast"}
    assert rows_of(folders[1])[key]["table"] == "contrast"
    assert rows_of(folders[1]).keys() == rows_of(folders[0]).keys()


def test_without_links_the_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    batches = [a_batch(a_task_each(20)), a_batch(a_task_each(4, prefix="n"), number=2)]
    first, second = (folder for folder, _ in chain(batches, tmp_path))
    verify(second)
    assert len(rows_of(second)) == 24
    assert not (first / "runs/00001.parquet").samefile(second / "runs/00001.parquet")


def test_a_file_is_hashed_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FRESH_NS", -1)
    monkeypatch.setattr(files, "_HASHED", {})
    folder = newest([a_batch(a_task_each(20))], tmp_path)
    verify(folder)
    hashed = dict(files._HASHED)
    verify(folder)
    assert hashed == files._HASHED
    path = folder / "runs/00001.parquet"
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    with pytest.raises(DatasetChanged, match=r"runs/00001\.parquet"):
        read_parent(folder)


def test_a_folder_that_a_killed_run_has_half_written_is_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written last; a scratch folder is published by one rename (contracts/test_store.py)."""
    draft = build([a_batch(a_task_each(20))], RULES)
    assert isinstance(draft, Draft)
    finish = shards.Shelf.finish

    def killed(shelf: shards.Shelf) -> None:
        finish(shelf)
        raise KeyboardInterrupt

    monkeypatch.setattr(shards.Shelf, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        write_version(draft, tmp_path / "v", parent=None, track="t", rules=RULES, batches=["t-1"], golden=None)
    assert (tmp_path / "v" / "data").is_dir()
    assert not (tmp_path / "v" / "manifest.json").exists()


def test_a_flood_of_copies_costs_no_more_than_its_rows(tmp_path: Path) -> None:
    """300 runs that are all alike: one stays, and no pair of them was compared more than once a bucket allows."""
    talk = a_conversation("the same wish", " ".join(f"w{n}" for n in range(60)))
    flood = [a_row(f"f{n:03}", task_id="flood", messages=talk, score=80.0 + n / 100) for n in range(300)]
    draft = build([a_batch([*a_task_each(20), *flood])], RULES, hold=Bodies())
    assert isinstance(draft, Draft)
    kept = [member.key for member in draft.members.values() if member.task == "home/flood" and member.table]
    assert kept == ["execution:f299"]


def test_the_shelf_of_the_tests_and_the_files_have_the_same_texts(tmp_path: Path) -> None:
    draft = build([a_batch(a_task_each(20))], RULES)
    assert isinstance(draft, Draft)
    write_version(draft, tmp_path / "v", parent=None, track="t", rules=RULES, batches=["t-1"], golden=None)
    keys = [*draft.members][::3]
    parents = read_parent(tmp_path / "v"), Shelf().parent(draft)
    found = [parent.bodies(dict(zip(keys, parent.roll.find(keys), strict=True))) for parent in parents]
    assert [one.keys() for one in found] == [set(keys)] * 2


def test_only_small_shards_wait_in_memory_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full dataset that is cut is written anew: it must never lie in memory as a whole."""
    monkeypatch.setattr(shards, "LARGE", 6)
    waiting: list[int] = []
    finish = shards.Shelf.finish

    def watched(shelf: shards.Shelf) -> None:
        waiting.extend(rows.num_rows for rows in shelf._coming.values())
        finish(shelf)

    monkeypatch.setattr(shards.Shelf, "finish", watched)
    folder = newest(in_batches(a_task_each(90), 30), tmp_path)
    assert 0 < max(waiting) < 6
    assert max(shard.rows for shard in shards.shards_of(read_manifest(folder))) >= 6
    verify(folder)
