"""What stands beside a version's tables and follows from its members: the curriculum, the card with its plots, why rows
are in no split by stage and source, and what our own models did."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from l07.backends.card import card
from l07.backends.plots import plots
from l07.domain.curriculum import STAGES, Curriculum, Pacing, Runs, curriculum, said
from l07.domain.dataset import SPLITS
from l07.domain.drawing import mixed
from l07.domain.example import FEATURES
from l07.domain.quality import CurateRules
from l07.domain.reasons import NOTES, stage_of

CURRICULUM = "curriculum.parquet"
COLUMNS = (
    "key", "task", "task_type", "source", "domain", "difficulty", "quality_score", "confidence", "decision", "reasons",
    "batch_id", "features", "table", "model_version", "draw",
)  # fmt: skip
SCORE_EDGES = np.linspace(0, 100, 21)
DIFFICULTY_EDGES = np.linspace(0, 1, 21)
LENGTH_EDGES = 10 ** np.linspace(1.5, 6.5, 21)  # characters of a run
MOST_NAMES = 40  # domains, sources and models that are told apart; the rest is "others"
MOST_VERSIONS = 100  # of a trend
OTHERS = "others"

Flags = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


def write_beside(
    output: Path,
    members: pa.Table,
    manifest: Mapping[str, Any],
    *,
    rules: CurateRules,
    parent: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write curriculum, card and plots into `output`; what the manifest says of all this. `members`: everyone, with
    COLUMNS; `manifest`: the numbers so far; `parent`: the manifest of the version before."""
    members = members.select(list(COLUMNS)).combine_chunks()
    learnt = _among(members, SPLITS)
    found = {
        "curriculum": _write_curriculum(output, members, rules),
        "histograms": _histograms(members, learnt),
        "domain_splits": _domains(members, learnt),
        "left": _left(members, learnt),
        "own": _own(members, learnt, manifest, parent),
    }
    drawn = plots({**manifest, **found})
    (output / "plots").mkdir(exist_ok=True)
    for name, svg in drawn.items():
        (output / "plots" / name).write_text(svg, "utf-8")
    (output / "README.md").write_text(card({**manifest, **found}, drawn), "utf-8")
    return found


def _among(members: pa.Table, tables: tuple[str, ...]) -> Flags:
    return np.asarray(pc.is_in(members["table"], pa.array(tables, pa.string())).to_numpy())


def _numbers(members: pa.Table, column: str) -> npt.NDArray[np.float64]:
    return np.asarray(members[column].to_numpy(), np.float64)


# ------------------------------------------------------------------ curriculum


def _write_curriculum(output: Path, members: pa.Table, rules: CurateRules) -> dict[str, Any]:
    pacing: Pacing = rules.pacing
    made = _curriculum(members, rules, pacing)
    table = pa.table(
        {
            "key": members["key"].take(pa.array(made.place)),
            "stage": pa.array(STAGES).take(pa.array(made.stage)),
            "difficulty": pa.array(made.difficulty),
            "rank": pa.array(made.rank),
            "rank_shuffled": pa.array(made.rank_shuffled),
        }
    )
    pq.write_table(table.take(pa.array(np.argsort(made.rank))), output / CURRICULUM, compression="zstd")
    return said(made, pacing)


def _curriculum(members: pa.Table, rules: CurateRules, pacing: Pacing) -> Curriculum:
    judged = pc.is_in(members["decision"], pa.array(["ACCEPT", "REJECT"])).to_numpy()
    named = pc.not_equal(members["task"], "").to_numpy()
    sure = _numbers(members, "confidence") >= rules.confidence_threshold
    train = _among(members, ("train",))
    runs = Runs(
        task=_codes(members["task"]),
        kind=_codes(members["task_type"]),
        judged=np.asarray(judged & named & sure),
        failed=_numbers(members, "quality_score") < rules.quality_threshold,
        structural=_numbers(members, "difficulty"),
        learnt=train,
    )
    draws = np.asarray(members["draw"].to_numpy(), np.uint64)
    order, control = (mixed(draws, seed=rules.seed, purpose=purpose) for purpose in ("curriculum", "control"))
    return curriculum(runs, order, control, pacing=pacing)


def _codes(column: pa.ChunkedArray) -> I64:
    return np.asarray(pc.dictionary_encode(column).combine_chunks().indices.to_numpy(), np.int64)


# ------------------------------------------------------------------ numbers of the card


def _histograms(members: pa.Table, learnt: Flags) -> dict[str, Any]:
    contrast = _among(members, ("contrast",))
    score, lengths = _numbers(members, "quality_score"), _lengths(members)
    return {
        "score": _counted(SCORE_EDGES, {"splits": score[learnt], "contrast": score[contrast]}),
        "difficulty": _counted(DIFFICULTY_EDGES, {"splits": _numbers(members, "difficulty")[learnt]}),
        "length": _counted(LENGTH_EDGES, {"splits": lengths[learnt & (lengths > 0)]}),
    }


def _lengths(members: pa.Table) -> npt.NDArray[np.float64]:
    """Characters of each run, without its system prompt; 0 where the run was never measured."""
    at = FEATURES.index("trace_chars")
    features = members["features"].combine_chunks()
    sizes = np.asarray(pc.fill_null(pc.list_value_length(features), 0).to_numpy(), np.int64)
    lengths = np.zeros(len(sizes))
    known = sizes > at
    starts = (np.cumsum(sizes) - sizes)[known]
    lengths[known] = np.asarray(pc.list_flatten(features).to_numpy(), np.float64)[starts + at]
    return lengths


def _counted(edges: npt.NDArray[np.float64], values: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Rows between the edges; what lies outside is in the first or the last bin."""
    counts = {name: np.histogram(np.clip(found, edges[0], edges[-1]), edges)[0] for name, found in values.items()}
    return {"edges": [round(float(edge), 4) for edge in edges]} | {n: found.tolist() for n, found in counts.items()}


def _domains(members: pa.Table, learnt: Flags) -> dict[str, dict[str, int]]:
    """Domain -> split -> rows, the largest domains first."""
    rows = members.select(["domain", "table"]).filter(pa.array(learnt))
    counted = rows.group_by(["domain", "table"]).aggregate([([], "count_all")]).to_pylist()
    found: dict[str, dict[str, int]] = {}
    for row in counted:
        found.setdefault(row["domain"], dict.fromkeys(SPLITS, 0))[row["table"]] = row["count_all"]
    order = sorted(found, key=lambda domain: (-sum(found[domain].values()), domain))
    kept = {domain: found[domain] for domain in order[:MOST_NAMES]}
    if order[MOST_NAMES:]:
        kept[OTHERS] = {split: sum(found[domain][split] for domain in order[MOST_NAMES:]) for split in SPLITS}
    return kept


def _left(members: pa.Table, learnt: Flags) -> list[dict[str, Any]]:
    """Why rows are in no split: rows by source, stage and reason, the most frequent first. A row may have several; notes
    are left out."""
    rows = members.select(["source", "reasons"]).filter(pa.array(~learnt)).combine_chunks()
    parents = pc.list_parent_indices(rows["reasons"])
    flat = pa.table({"source": rows["source"].take(parents), "reason": pc.list_flatten(rows["reasons"])})
    counted = flat.group_by(["source", "reason"]).aggregate([([], "count_all")]).to_pylist()
    found = [
        {"source": row["source"], "stage": stage_of(row["reason"]), "reason": row["reason"], "rows": row["count_all"]}
        for row in counted
        if row["reason"] not in NOTES
    ]
    return sorted(found, key=lambda row: (-row["rows"], row["source"], row["reason"]))[: MOST_NAMES * 10]


# ------------------------------------------------------------------ our own models


def _own(
    members: pa.Table, learnt: Flags, manifest: Mapping[str, Any], parent: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Rows of the splits that released models of ours did, by model; of those that this version's batches brought; and
    the share in the versions so far. A loop that learns mostly from itself gets narrower with every turn."""
    ours = pc.greater(pc.fill_null(pc.utf8_length(members["model_version"]), 0), 0).to_numpy() & learnt
    new = pc.is_in(members["batch_id"], pa.array(list(manifest["batches"]), pa.string())).to_numpy() & learnt
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


def _models(members: pa.Table, ours: Flags) -> dict[str, int]:
    counted = pc.value_counts(members["model_version"].filter(pa.array(ours))).to_pylist()
    order = sorted(counted, key=lambda row: (-row["counts"], row["values"]))
    found = {row["values"]: row["counts"] for row in order[:MOST_NAMES]}
    rest = sum(row["counts"] for row in order[MOST_NAMES:])
    return found | {OTHERS: rest} if rest else found
