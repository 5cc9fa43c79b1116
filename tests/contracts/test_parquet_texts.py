"""Texts of older rows: found wherever they lie, and read of no row group that has none of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from l07.backends.parquet import files, read_manifest, read_parent, read_rows, reading
from l07.domain.dataset import TABLES
from l07.pipeline.curate.roll import Parent
from l07.pipeline.curate.twins import Body
from tests.curation import a_row
from tests.versions import a_version

GROUP = 8  # rows of a row group here


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest of ten versions: shards that were merged, whose keys do not rise from end to end, and one that was not."""
    monkeypatch.setattr(files, "ROW_GROUP", GROUP)
    version = None
    for number in range(10):
        bad = a_row(f"bad-{number}", score=5.0)
        version = a_version(tmp_path, bad, parent=version, number=number + 1, others=12 if version else 60)
    assert version is not None
    return version


def asked(parent: Parent, keys: Sequence[str]) -> Mapping[str, Body]:
    return parent.bodies(dict(zip(keys, parent.roll.find(keys), strict=True)))


def said(folder: Path) -> dict[str, str]:
    return {row["key"]: row["goal"] for table in TABLES for row in read_rows(folder, table)}


class Reads(list[tuple[int, tuple[str, ...]]]):
    """Row groups that were read, with their columns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = pq.ParquetFile.read_row_group

        def read_row_group(file: Any, number: int, columns: Sequence[str]) -> Any:
            self.append((number, tuple(columns)))
            return original(file, number, columns)

        monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)

    @property
    def with_texts(self) -> int:
        return sum("messages" in columns for _, columns in self)


def test_all_and_each_are_found(folder: Path) -> None:
    parent, goals = read_parent(folder), said(folder)
    assert any(len(shard["writes"]) > 1 for shard in read_manifest(folder)["shards"])
    assert len(goals) > 10 * GROUP
    assert {key: body.goal for key, body in asked(parent, list(goals)).items()} == goals
    assert all(asked(parent, [key])[key].goal == goal for key, goal in goals.items())


def test_for_one_text_one_row_group_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = read_parent(folder)
    large = max(read_manifest(folder)["shards"], key=lambda shard: shard["rows"] if len(shard["writes"]) == 1 else 0)
    keys = pq.read_table(folder / large["file"], columns=["key"]).column("key").to_pylist()
    assert len(keys) > 3 * GROUP
    reads = Reads(monkeypatch)
    for key in keys:
        asked(parent, [key])
    assert (reads.with_texts, len(reads)) == (len(keys), 2 * len(keys))  # the keys of the same group, and nothing else


def test_statistics_that_are_wide_cost_keys_and_no_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, goals = read_parent(folder), said(folder)
    monkeypatch.setattr(reading, "_may_have", lambda *_: True)
    reads = Reads(monkeypatch)
    assert all(asked(parent, [key])[key].goal == goal for key, goal in goals.items())
    assert reads.with_texts == len(goals) < len(reads) / 2


def test_a_file_without_statistics_is_looked_through(folder: Path) -> None:
    parent, goals = read_parent(folder), said(folder)
    for path in (folder / "data").glob("*.parquet"):
        table = pq.read_table(path)
        path.unlink()  # it is linked
        pq.write_table(table, path, row_group_size=GROUP, write_statistics=False)
    assert {key: body.goal for key, body in asked(parent, list(goals)).items()} == goals


def test_control_statistics_that_say_nobody_is_there_are_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is the statistics that the tests above read by."""
    monkeypatch.setattr(reading, "_may_have", lambda *_: False)
    assert not asked(read_parent(folder), list(said(folder)))
