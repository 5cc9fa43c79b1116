"""What stands beside a version's tables and follows from its members: the curriculum, the card with its plots, why rows
are in no split by stage and source, and what our own models did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from l07.backends.card import card
from l07.backends.plots import plots
from l07.domain.arrays import inverse
from l07.domain.curriculum import STAGES, Curriculum, Pacing, Runs, curriculum, said
from l07.domain.dataset import SPLITS
from l07.domain.drawing import mixed
from l07.domain.quality import CurateRules
from l07.domain.reasons import NOTES, stage_of
from l07.pipeline.curate.columns import DECISION, I64, TABLE, TABLE_NAMES, Column, Columns, Flags

CURRICULUM = "curriculum.parquet"
SCORE_EDGES = np.linspace(0, 100, 21)
DIFFICULTY_EDGES = np.linspace(0, 1, 21)
LENGTH_EDGES = 10 ** np.linspace(1.5, 6.5, 21)  # characters of a run
MOST_NAMES = 40  # domains, sources and models that are told apart; the rest is "others"
MOST_VERSIONS = 100  # of a trend
OTHERS = "others"

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Everyone:
    """Whom a version knows, a place each: its columns, and beside them what only the files have. Numbers of batches and
    models stand for their names."""

    columns: Columns
    keys: pa.Array
    difficulty: F64  # 0-1
    confidence: F64  # 0-1
    length: F64  # characters of the run, without its system prompt; 0 where it was never measured
    batch: Column
    batches: Sequence[str]
    model: Column
    models: Sequence[str]


def write_beside(
    output: Path,
    members: Everyone,
    manifest: Mapping[str, Any],
    *,
    rules: CurateRules,
    parent: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write curriculum, card and plots into `output`; what the manifest says of all this. `manifest`: the
    numbers so far; `parent`: the manifest of the version before."""
    found = {
        "curriculum": _write_curriculum(output, members, rules),
        "histograms": _histograms(members),
        "domain_splits": _domains(members.columns),
        "left": _left(members.columns),
        "own": _own(members, manifest, parent),
    }
    drawn = plots({**manifest, **found})
    (output / "plots").mkdir(exist_ok=True)
    for name, svg in drawn.items():
        (output / "plots" / name).write_text(svg, "utf-8")
    (output / "README.md").write_text(card({**manifest, **found}, drawn), "utf-8")
    return found


# ------------------------------------------------------------------ curriculum


def _write_curriculum(output: Path, members: Everyone, rules: CurateRules) -> dict[str, Any]:
    pacing: Pacing = rules.pacing
    made = _curriculum(members, rules, pacing)
    order = inverse(made.rank)
    table = pa.table(
        {
            "key": members.keys.take(pa.array(made.place[order])),
            "stage": pa.array(STAGES).take(pa.array(made.stage[order])),
            "difficulty": pa.array(made.difficulty[order]),
            "rank": pa.array(made.rank[order]),
            "rank_shuffled": pa.array(made.rank_shuffled[order]),
        }
    )
    coding = {"key": "PLAIN", "rank": "DELTA_BINARY_PACKED", "rank_shuffled": "DELTA_BINARY_PACKED"}
    pq.write_table(
        table,
        output / CURRICULUM,
        compression="zstd",
        compression_level=3,
        use_dictionary=["stage", "difficulty"],
        column_encoding=coding,
    )
    return said(made, pacing)


def _curriculum(members: Everyone, rules: CurateRules, pacing: Pacing) -> Curriculum:
    columns = members.columns
    judged = (columns.decision == DECISION["ACCEPT"]) | (columns.decision == DECISION["REJECT"])
    named = columns.task != columns.tasks.find("")
    sure = members.confidence >= rules.confidence_threshold
    runs = Runs(
        task=_as_met(columns.task),
        kind=_as_met(columns.task_type),
        judged=judged & named & sure,
        failed=columns.quality < rules.quality_threshold,
        structural=members.difficulty,
        learnt=columns.table == TABLE["train"],
    )
    order, control = (mixed(columns.draw, seed=rules.seed, purpose=purpose) for purpose in ("curriculum", "control"))
    return curriculum(runs, order, control, pacing=pacing)


def _as_met(codes: Column) -> I64:
    """The same numbers in the order in which the rows name them: a sum of floats depends on its order."""
    if (np.diff(np.maximum.accumulate(codes), prepend=-1) <= 1).all():
        return codes.astype(np.int64)  # they are: each new one is the next number
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return inverse(np.argsort(first, kind="stable"))[codes]


# ------------------------------------------------------------------ numbers of the card


def _histograms(members: Everyone) -> dict[str, Any]:
    columns, lengths = members.columns, members.length
    learnt, contrast = columns.learnt, columns.table == TABLE["contrast"]
    return {
        "score": _counted(SCORE_EDGES, {"splits": columns.quality[learnt], "contrast": columns.quality[contrast]}),
        "difficulty": _counted(DIFFICULTY_EDGES, {"splits": members.difficulty[learnt]}),
        "length": _counted(LENGTH_EDGES, {"splits": lengths[learnt & (lengths > 0)]}),
    }


def _counted(edges: F64, values: Mapping[str, F64]) -> dict[str, Any]:
    """Rows between the edges; what lies outside is in the first or the last bin."""
    counts = {name: np.histogram(np.clip(found, edges[0], edges[-1]), edges)[0] for name, found in values.items()}
    return {"edges": [round(float(edge), 4) for edge in edges]} | {n: found.tolist() for n, found in counts.items()}


def _domains(columns: Columns) -> dict[str, dict[str, int]]:
    """Domain -> split -> rows, the largest domains first."""
    learnt = columns.learnt
    found: dict[str, dict[str, int]] = {}
    for (domain, table), rows in _pairs(columns.domain[learnt], columns.table[learnt]):
        found.setdefault(columns.domains.names[domain], dict.fromkeys(SPLITS, 0))[TABLE_NAMES[table]] = rows
    order = sorted(found, key=lambda domain: (-sum(found[domain].values()), domain))
    kept = {domain: found[domain] for domain in order[:MOST_NAMES]}
    if order[MOST_NAMES:]:
        kept[OTHERS] = {split: sum(found[domain][split] for domain in order[MOST_NAMES:]) for split in SPLITS}
    return kept


def _left(columns: Columns) -> list[dict[str, Any]]:
    """Why rows are in no split: rows by source, stage and reason, the most frequent first. A row may have several; notes
    are left out."""
    beside = ~columns.learnt
    counted: Counter[tuple[str, str]] = Counter()
    for (source, reasons), rows in _pairs(columns.source[beside], columns.reasons[beside]):
        for reason in columns.reason_lists.names[reasons]:
            counted[columns.sources.names[source], reason] += rows
    found = [(-rows, source, reason) for (source, reason), rows in counted.items() if reason not in NOTES]
    return [
        {"source": source, "stage": stage_of(reason), "reason": reason, "rows": -rows}
        for rows, source, reason in sorted(found)[: MOST_NAMES * 10]
    ]


def _pairs(one: Column, other: Column) -> list[tuple[tuple[int, int], int]]:
    """Pairs of numbers that rows have, and how many rows have each."""
    width = int(other.max(initial=0)) + 1
    counts = np.bincount(one.astype(np.int64) * width + other)
    return [(divmod(pair, width), int(counts[pair])) for pair in np.flatnonzero(counts).tolist()]


# ------------------------------------------------------------------ our own models


def _own(members: Everyone, manifest: Mapping[str, Any], parent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Rows of the splits that released models of ours did, by model; of those that this version's batches brought; and
    the share in the versions so far. A loop that learns mostly from itself gets narrower with every turn."""
    learnt = members.columns.learnt
    ours = learnt & np.array([bool(name) for name in members.models], bool)[members.model]
    now = set(manifest["batches"])
    new = learnt & np.array([name in now for name in members.batches], bool)[members.batch]
    share, before = _share(ours, learnt), (parent or {}).get("own", {}).get("trend", [])
    return {
        "rows": int(ours.sum()),
        "share": share,
        "new_rows": int((ours & new).sum()),
        "new_share": _share(ours & new, new),
        "models": _models(members, ours),
        "trend": [*before, {"version": manifest["version"], "share": share}][-MOST_VERSIONS:],
    }


def _share(part: Flags, whole: Flags) -> float | None:
    """None of nothing."""
    return round(int(part.sum()) / int(whole.sum()), 6) if whole.any() else None


def _models(members: Everyone, ours: Flags) -> dict[str, int]:
    counts = np.bincount(members.model[ours], minlength=len(members.models)).tolist()
    counted = [(name, rows) for name, rows in zip(members.models, counts, strict=True) if rows]
    order = sorted(counted, key=lambda item: (-item[1], item[0]))
    found = dict(order[:MOST_NAMES])
    rest = sum(rows for _, rows in order[MOST_NAMES:])
    return found | {OTHERS: rest} if rest else found
