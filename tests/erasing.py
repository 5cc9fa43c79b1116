"""Builders for erasures from datasets: versions of several segments and shards, an erasure by columns as the product does it,
and one by objects as the judge; what a version says, whatever the files in which it lies."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from l07.backends.parquet import (
    Bodies,
    read_groups,
    read_lineage,
    read_members,
    read_parent,
    read_rows,
    verify,
    write_version,
)
from l07.backends.worker import build_version
from l07.domain.dataset import SPLITS, TABLES
from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, SOURCE, SUBJECT, Marks
from l07.domain.quality import CurateRules
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.forgetting import without
from l07.ports import CurateRequest, SealedBatch

MARKS = Marks(b"k" * 32)
RULES = CurateRules(contrast_ratio=0.2, max_per_task=3)
BESIDE = {"files", "segments", "shards", "writes"}  # how a version lies in files is no part of what it says


def stones(**names: Collection[str]) -> Tombstones:
    kinds = {"key": KEY, "subject": SUBJECT, "source": SOURCE}
    return Tombstones(MARKS, {kinds[k]: frozenset(MARKS.of(kinds[k], n) for n in v) for k, v in names.items()}, 1)


def a_house(root: Path, batches: Sequence[SealedBatch], rules: CurateRules = RULES) -> Path:
    """The last of versions that were built one after the other: several segments, several shards a table."""
    parent: Path | None = None
    waiting: list[SealedBatch] = []
    for number, batch in enumerate(batches):
        waiting.append(batch)
        start = read_parent(parent) if parent else None
        draft = build(waiting, rules, parent=start, hold=Bodies(), hashed=lambda name: MARKS.of(SUBJECT, name))
        if isinstance(draft, Draft):
            folder, waiting = root / "built" / f"1.{number}.0", []
            write_version(draft, folder, parent=parent, track="t", rules=rules, batches=["t-1"], golden=None)
            parent = folder
    assert parent is not None
    return parent


def by_objects(folder: Path, erased: Tombstones, output: Path, rules: CurateRules = RULES) -> Path:
    """The judge: everyone becomes an object, and every file is written anew."""
    parent, gone = without(read_parent(folder), erased)
    draft = build([], rules, parent=parent, erased=gone, hold=Bodies())
    assert isinstance(draft, Draft)
    write_version(draft, output / folder.name, parent=folder, track="t", rules=rules, batches=[], golden=None)
    return output / folder.name


def by_columns(folder: Path, erased: Tombstones, output: Path, rules: CurateRules = RULES) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    made = build_version(CurateRequest("t", [], rules, folder, None, output / folder.name, erased=erased))
    assert made.version, made.summary
    return output / folder.name


def said(folder: Path) -> dict[str, Any]:
    """All that a version says, whatever the files in which it lies."""
    parent = read_parent(folder)
    texts = {name: (folder / name).read_text("utf-8") for name in ("README.md",)}
    return {
        "manifest": {name: value for name, value in verify(folder).items() if name not in BESIDE},
        "everyone": dict(parent.members),  # features and sketches too
        "members": {row["key"]: row for row in read_members(folder)},
        "rows": {table: {row["key"]: row for row in read_rows(folder, table)} for table in TABLES},
        "groups": read_groups(folder),
        "lineage": read_lineage(folder),
        "curriculum": pq.read_table(folder / "curriculum.parquet").to_pylist(),
        "plots": {path.name: path.read_text("utf-8") for path in sorted((folder / "plots").iterdir())},
        **texts,
    }


def contents(folder: Path) -> bytes:
    """All bytes, and what stands in the tables; shares no code with the product."""
    found = b""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += path.read_bytes()
            if path.suffix == ".parquet":
                found += json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()
    return found


def clusters(folder: Path) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for member in read_parent(folder).members.values():
        if member.cluster:
            found[member.cluster].append(member)
    return found


def largest_cluster(folder: Path) -> list[str]:
    return [member.key for member in max(clusters(folder).values(), key=len)]


def representatives(folder: Path) -> list[str]:
    """Who stayed of clusters of which others left as duplicates."""
    stay = [
        member.key
        for cluster in clusters(folder).values()
        if any("near_duplicate" in member.reasons for member in cluster)
        for member in cluster
        if member.table in SPLITS
    ]
    assert stay
    return stay


def namers(folder: Path) -> list[str]:
    """All runs of a task after which a group of several tasks is called."""
    group = next(group for group in read_groups(folder) if len(group["tasks"]) > 1 and group["id"] in group["tasks"])
    return [m["key"] for m in read_members(folder) if m["task"] == group["id"]]


def most_of_train(folder: Path) -> list[str]:
    """So many that there are too many contrast rows for what is left."""
    return [row["key"] for row in read_rows(folder, "train")][::2]
