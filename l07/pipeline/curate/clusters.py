"""Near-duplicate clusters, kept over versions, and what of a version a person should look at: one cluster that is a large
part of a track, a source whose runs are mostly incomplete."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l07.domain.arrays import is_among
from l07.domain.dataset import DisjointSets
from l07.domain.quality import COMPLETENESS, UNHOLDABLE
from l07.domain.reasons import STAGES
from l07.pipeline.curate.columns import Column, Columns, Flags
from l07.pipeline.curate.work import DatasetWarning, Work

LARGE, LEAST_ROWS = 0.05, 10  # of all runs of the track; fewer runs are no flood, whatever their share
CONVENTION, LEAST_RUNS = 0.05, 20  # of a source's runs: what so many break is how the source writes its runs
GATES = frozenset(STAGES["gates"])


def label(work: Work) -> None:
    """Rows that are alike, directly or through others, get one label: the smallest draw of them, whatever their order.
    Rows that left as duplicates keep it, or a flood would not show. Labels that a new row ties together become one."""
    rows = sorted({row for pair in work.pairs for row in pair})
    if not rows:
        return
    columns = work.columns
    names = {row: int(columns.cluster[row] or columns.draw[row]) for row in rows}
    sets: DisjointSets[int] = DisjointSets()
    for one, other in work.pairs:
        sets.join(names[one], names[other])
    wanted = {row: sets.find(name) for row, name in names.items()}
    moved = [name for name in set(names.values()) if sets.find(name) != name]
    others = np.flatnonzero(is_among(columns.cluster, np.array(moved, np.uint64)) & (columns.cluster > 0)).tolist()
    wanted |= {row: sets.find(int(columns.cluster[row])) for row in others}
    work.before([row for row in wanted if row not in work.changed])
    for row, name in wanted.items():
        member = work.member(row)
        if member.cluster != name:
            work.set(row, member.but(cluster=name))


@dataclass(frozen=True, slots=True)
class Watch:
    """`clusters` stands in the manifest. Shares are 0-1."""

    clusters: Mapping[str, Any]
    warnings: tuple[DatasetWarning, ...]


def watch(columns: Columns) -> Watch:
    """Of a version as it stands."""
    largest = _largest(columns)
    clusters = {
        "clusters": largest.count,
        "rows": largest.all_rows,
        "largest": largest.told,
        "sources": dict(_kept(columns, columns.source, columns.sources.names)),
        "domains": dict(_kept(columns, columns.domain, columns.domains.names)),
    }
    return Watch(clusters, (*_flood(largest), *_incomplete(columns)))


@dataclass(frozen=True, slots=True)
class _Largest:
    count: int = 0  # clusters
    all_rows: int = 0  # in them
    rows: int = 0  # in the largest
    kept: int = 0  # of these in a split
    share: float = 0.0  # of all runs of the track
    share_kept: float = 0.0  # of the rows in the splits

    @property
    def told(self) -> Mapping[str, Any]:
        return {"rows": self.rows, "share": self.share, "kept": self.kept, "share_kept": self.share_kept}


def _largest(columns: Columns) -> _Largest:
    """By rows; ties by the smaller label."""
    there = columns.cluster > 0
    labels, counts = np.unique(columns.cluster[there], return_counts=True)
    if not len(labels):
        return _Largest()
    most = int(np.argmax(counts))
    kept = int((columns.learnt & (columns.cluster == labels[most])).sum())
    rows, learnt = int(counts[most]), int(columns.learnt.sum())
    share_kept = round(kept / learnt, 6) if learnt else 0.0
    return _Largest(len(labels), int(there.sum()), rows, kept, round(rows / len(columns), 6), share_kept)


def _flood(found: _Largest) -> Iterator[DatasetWarning]:
    share = max(found.share, found.share_kept)
    if share > LARGE and found.rows >= LEAST_ROWS:
        yield DatasetWarning(
            "large_cluster",
            f"one cluster of near duplicates has {found.rows} runs, {found.share:.1%} of the track, and {found.kept} of them are "
            f"{found.share_kept:.1%} of the splits (limit {LARGE:.0%}); look where they come from before training on them",
        )


def _kept(columns: Columns, codes: Column, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """How much of what passed the gates is in a split, by name; `codes`: of each row."""
    passed = ~_having(columns, GATES)
    for number, name in sorted(enumerate(names), key=lambda item: item[1]):
        mine = codes == number
        count, kept = int((mine & passed).sum()), int((mine & columns.learnt).sum())
        if name and mine.any():
            yield name, {"passed": count, "kept": kept, "share_kept": round(kept / count, 6) if count else None}


def _incomplete(columns: Columns) -> Iterator[DatasetWarning]:
    for reason in sorted(COMPLETENESS - UNHOLDABLE):
        broken = _having(columns, frozenset({reason}))
        for number in np.flatnonzero(np.bincount(columns.source[broken])).tolist():
            mine = columns.source == number
            runs, count = int(mine.sum()), int((mine & broken).sum())
            if runs >= LEAST_RUNS and count / runs > CONVENTION:
                yield DatasetWarning(
                    "incomplete_source",
                    f"{count} of {runs} runs of {columns.sources.names[number]} are rejected for {reason}; if this is how that source "
                    "writes its runs, set filter.completeness.enabled = false",
                )


def _having(columns: Columns, reasons: frozenset[str]) -> Flags:
    """Rows that bear one of these reasons."""
    codes = [number for number, listed in enumerate(columns.reason_lists.names) if reasons & set(listed)]
    bears = np.zeros(len(columns.reason_lists), bool)
    bears[codes] = True
    return bears[columns.reasons]
