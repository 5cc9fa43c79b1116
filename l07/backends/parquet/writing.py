"""A draft becomes a folder: new rows are written, what stays is linked from the version before."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.croissant import FILE as CROISSANT
from l07.backends.croissant import croissant
from l07.backends.parquet.bodies import Bodies, table_of
from l07.backends.parquet.everyone import everyone, placed_of
from l07.backends.parquet.files import (
    MANIFEST,
    file_entry,
    link,
    names_in,
    read_manifest,
    read_table,
    write_json,
    write_table,
)
from l07.backends.parquet.reading import read_lines
from l07.backends.parquet.schema import BODY, EVENTS, LINEAGE
from l07.backends.parquet.shards import FAN, Shelf, said_of, shards_of, tier
from l07.backends.parquet.sketches import open_bands, write_bands
from l07.backends.parquet.state import CODED, Segment, State, StoredRoll, keep
from l07.backends.parquet.tables import groups_table, runs_table, standing_table
from l07.backends.parquet_beside import write_beside
from l07.domain.dataset import SCHEMA, Member
from l07.domain.deeds import DEEDS
from l07.domain.quality import CurateRules
from l07.domain.scheme import SCHEME
from l07.pipeline.curate.build import Draft
from l07.pipeline.curate.columns import TABLE_NAMES
from l07.pipeline.curate.roll import bands_of
from l07.pipeline.curate.work import Examples, Lineage

PER_ROW = ("runs", "standing", "provenance")
_LINE = attrgetter("key", "batch_id", *(f"events.{name}" for name in EVENTS))
LARGE = 32_768  # rows: such a segment is not merged any more; one row that moves has all of its standing written anew
# Columns whose values come again and again: only these are looked through for any.
REPEATED = {
    "runs": (*CODED["runs"], "difficulty", "features.list.element"),
    "standing": (
        *CODED["standing"],
        "quality_score",
        "confidence",
        "reasons.list.element",
        "scores.key_value.key",
        "placed",
    ),
    "provenance": ("batch_id", "trace_source", "score_source"),
}


def write_version(
    draft: Draft,
    output: Path,
    *,
    parent: Path | None,
    track: str,
    rules: CurateRules,
    batches: Sequence[str],
    golden: str | None,
) -> dict[str, Any]:
    """Fill `output` with the version; returns its manifest. `parent` is the folder of the version before, whose files
    are taken over: linked where they stay as they are."""
    output.mkdir(parents=True, exist_ok=True)
    state = draft.roll.state if isinstance(draft.roll, StoredRoll) else None
    write = 1 + (state.manifest["writes"] if state else 0)
    shelf = Shelf(output, parent, shards_of(state.manifest) if state else (), write)
    segments = list(state.segments) if state else []
    old = parent if state is None else None
    placed = _write_rows(draft, shelf, state, old)
    stands = dict(state.stands) if state else {}
    _write_standing(draft, output, state, placed, stands)
    segments = _merged(output, parent, [*segments, *_write_segment(draft, output, state, placed, old, stands)])
    write_table(groups_table(draft.columns, draft.grouping), output / "groups.parquet", repeated=["split"])
    manifest = _manifest(draft, parent=parent, track=track, rules=rules, batches=batches, golden=golden)
    manifest |= {"writes": write, "shards": said_of(shelf.shards), "segments": [asdict(one) for one in segments]}
    before = read_manifest(parent) if parent else None
    members = everyone(draft.columns, _everyone(draft, state), state)
    manifest |= write_beside(output, members, manifest, rules=rules, parent=before)
    manifest["files"] = {name: file_entry(output / name) for name in names_in(output)}
    write_json(croissant(manifest), output / CROISSANT)
    manifest["files"][CROISSANT] = file_entry(output / CROISSANT)
    write_json(manifest, output / MANIFEST)
    manifest = read_manifest(output)
    where = placed_of(placed, len(draft.columns), state)
    kept = State(output, manifest, draft.grouping, members, where)
    kept.learn(_everyone(draft, state), state)
    kept.hold(stands)
    keep(kept, instead_of=state)
    return manifest


# ------------------------------------------------------------------ rows


def _write_rows(draft: Draft, shelf: Shelf, state: State | None, old: Path | None) -> Mapping[int, int]:
    """Rows that are new or say something else leave their shards and come into new ones. Returns the number of the
    write that placed each changed row. `old`: the folder of a version that has no shards yet."""
    everyone = _everyone(draft, state)
    before = draft.roll.columns if state else None
    placed: dict[int, int] = {}
    leaving: dict[tuple[str, int], set[str]] = defaultdict(set)
    coming: dict[str, list[Member]] = defaultdict(list)
    for row, member in everyone.items():
        known = before is not None and row < len(before)
        if known and before is not None and (before.digest[row] == draft.columns.digest[row]).all():
            placed[row] = int(state.placed[row]) if state else 0
            continue
        placed[row] = shelf.write
        if known and before is not None and before.table[row] and state is not None:
            leaving[TABLE_NAMES[before.table[row]], int(state.placed[row])].add(member.key)
        if member.table:
            coming[member.table].append(member)
    bodies = pa.concat_tables([BODY.empty_table(), *_held(draft), *shelf.take(leaving), *_unsharded(old)])
    shelf.put(coming, bodies)
    shelf.merge()
    shelf.finish()
    return placed


def _everyone(draft: Draft, state: State | None) -> Mapping[int, Member]:
    """Those whom files have to be written for: the changed ones, or all where the version before has no segments."""
    if state is not None:
        return draft.changed
    rows = range(len(draft.roll))
    return {**dict(zip(rows, draft.roll.members(rows), strict=True)), **draft.changed}


def _held(draft: Draft) -> list[pa.Table]:
    if isinstance(draft.hold, Bodies):
        return draft.hold.tables
    assert isinstance(draft.hold, Examples)
    return [table_of(list(draft.hold.values()))]


def _unsharded(folder: Path | None) -> list[pa.Table]:
    """Bodies of a version that has no shards to take over."""
    if folder is None:
        return []
    paths = sorted((folder / "data").glob("*.parquet"))
    return [read_table(path, BODY.names).select(BODY.names).cast(BODY) for path in paths]


# ------------------------------------------------------------------ everyone


def _write_standing(
    draft: Draft, output: Path, state: State | None, placed: Mapping[int, int], stands: dict[int, pa.Table]
) -> None:
    """Anew where a row of the segment has changed. `stands`: takes what is written."""
    rows = np.array(sorted(row for row in draft.changed if row < len(draft.roll)), np.int64)
    for segment in state.segments if state else ():
        mine = rows[(rows >= segment.first) & (rows < segment.first + segment.rows)]
        if state is not None and len(mine):
            now = _standing(draft, mine.tolist(), placed)
            order = np.arange(segment.rows)
            order[mine - segment.first] = segment.rows + np.arange(len(mine))
            table = pa.concat_tables([state.standing(segment), now]).take(pa.array(order))
            stands[segment.number] = table
            write_table(table, output / segment.file("standing"), repeated=REPEATED["standing"])


def _standing(draft: Draft, rows: Sequence[int], placed: Mapping[int, int], members: Any = None) -> pa.Table:
    members = [draft.changed[row] for row in rows] if members is None else members
    return standing_table(members, [placed[row] for row in rows], draft.columns.digest[rows])


def _write_segment(
    draft: Draft,
    output: Path,
    state: State | None,
    placed: Mapping[int, int],
    old: Path | None,
    stands: dict[int, pa.Table],
) -> list[Segment]:
    """The new rows, and new lines of provenance; of all rows where the version before has no segments. `stands`: takes
    where they stand."""
    everyone = _everyone(draft, state)
    first = len(draft.roll) if state else 0
    rows = [row for row in sorted(everyone) if row >= first]
    if state is not None and not rows and not draft.lineage:
        return []
    members = [everyone[row] for row in rows]
    segment = Segment(1 + max((one.number for one in state.segments), default=0) if state else 1, first, len(rows))
    write_table(runs_table(members, draft.columns.draw[rows]), output / segment.file("runs"), repeated=REPEATED["runs"])
    standing = stands[segment.number] = _standing(draft, rows, placed, members)
    write_table(standing, output / segment.file("standing"), repeated=REPEATED["standing"])
    told = pa.concat_tables([*_lines_of(old, members), _lineage(draft.lineage)])
    write_table(told, output / segment.file("provenance"), repeated=REPEATED["provenance"])
    bands = draft.bands if state else bands_of(rows, members)
    if bands is not None:
        write_bands([bands], output / segment.file("sketches"))
    return [segment]


def _lineage(lines: Sequence[Lineage]) -> pa.Table:
    columns = zip(*map(_LINE, lines), strict=True) if lines else ((),) * len(LINEAGE)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=LINEAGE)


def _lines_of(old: Path | None, members: Sequence[Member]) -> list[pa.Table]:
    """What a version whose segments are not taken over says of where these came from."""
    if old is None:
        return []
    keys = pa.array([member.key for member in members], pa.string())
    lines = read_lines(old).select(LINEAGE.names).cast(LINEAGE)
    return [lines.filter(pc.is_in(lines.column("key"), value_set=keys))]


def _merged(output: Path, parent: Path | None, segments: Sequence[Segment]) -> list[Segment]:
    """The last FAN segments of at most one size become one, and so on; what stays is linked."""
    found = list(segments)
    while (crowd := _crowd(found)) is not None:
        whole = Segment(found[-1].number + 1, crowd[0].first, sum(one.rows for one in crowd))
        _merge(crowd, whole, output, parent)
        found[-len(crowd) :] = [whole]
    for segment in found:
        for kind in (*PER_ROW, "sketches"):
            name = segment.file(kind)
            if parent is not None and not (output / name).is_file() and (parent / name).is_file():
                link(parent / name, output / name)
    return found


def _crowd(segments: Sequence[Segment]) -> list[Segment] | None:
    size = tier(segments[-1].rows) if segments else 0
    last = list(takewhile(lambda one: tier(one.rows) <= size and one.rows < LARGE, reversed(segments)))
    return last[::-1] if len(last) >= FAN else None


def _merge(parts: Sequence[Segment], whole: Segment, output: Path, parent: Path | None) -> None:
    def places(kind: str) -> list[Path]:
        here = [(output / one.file(kind), one.file(kind)) for one in parts]
        return [own if own.is_file() or parent is None else parent / name for own, name in here]

    for kind in PER_ROW:
        table = pa.concat_tables([read_table(path) for path in places(kind)])
        write_table(table, output / whole.file(kind), repeated=REPEATED[kind])
    sketches = zip(places("sketches"), parts, strict=True)
    bands = [open_bands(path, one.shift) for path, one in sketches if path.is_file()]
    if bands:
        write_bands(bands, output / whole.file("sketches"))
    for one in parts:
        for kind in (*PER_ROW, "sketches"):
            (output / one.file(kind)).unlink(missing_ok=True)


# ------------------------------------------------------------------ the manifest


def _manifest(
    draft: Draft, *, parent: Path | None, track: str, rules: CurateRules, batches: Sequence[str], golden: str | None
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dataset": track,
        "version": str(draft.number),
        "digest": draft.digest,
        "parent": parent.name if parent else None,
        "batches": list(batches),
        "added": len(draft.difference.added),
        "removed": len(draft.difference.removed),
        "altered": len(draft.difference.altered),
        **draft.statistics,
        "counts": dict(draft.counts),
        "meaning": dict(draft.meaning),
        "config": asdict(rules),
        "seed": rules.seed,
        "sketch": SCHEME,
        "deeds": DEEDS,
        "golden": golden,
        "warnings": [asdict(warning) for warning in draft.warnings],
        **({"withheld": draft.withheld.message} if draft.withheld else {}),
    }
