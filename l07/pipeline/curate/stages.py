"""The stages of the filter that look at the rows of a build together, in their order.

To add one: write a function of `Work` that calls `work.set` or `work.leave` for the rows that it judges (`work.moved`
are those that may be judged: what a version holds keeps its verdict), puts what it measured into the member's `scores`,
counts in `work.counts`, and asks older rows through `work.columns`, never one by one; then name it in STAGES with its switch, a field of
CurateRules. What one
run tells by itself belongs to intake.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from l07.domain.arrays import is_among
from l07.domain.dataset import Member
from l07.domain.drawing import reservoir
from l07.domain.outliers import RESERVOIR, Table, strangeness_of
from l07.pipeline.curate.columns import I64, words
from l07.pipeline.curate.doubting import doubt
from l07.pipeline.curate.twins import drop_duplicates, rows_of
from l07.pipeline.curate.work import Work


def duplicates(work: Work) -> None:
    """Within the accepted and within the rejected rows. Of older rows only those that something new is like can
    leave: among themselves they have been judged."""
    rules, similarity = work.rules, work.rules.near_duplicate_similarity
    pairs = work.pairs if rules.near_duplicates else {}
    for decision in ("ACCEPT", "REJECT"):
        moved = work.moved(decision)
        columns, kept = work.columns, work.kept(decision)
        exact = words([member.exact for member in moved.values()])
        like = work.old(kept & is_among(columns.exact, exact)).tolist()
        near = {row for row in rows_of(pairs, moved.keys(), least=similarity) if kept[row] and row not in moved}
        rows = moved | work.before([*like, *(near - set(like))])
        leave = drop_duplicates(rows, pairs, similarity=similarity, seed=rules.seed, exact=rules.exact_duplicates)
        for row, member in leave.items():
            work.leave(row, member.reasons[-1])


def outliers(work: Work) -> None:
    """Judge the new accepted rows against a sample of their source that passed the gates; rows in review stay part of
    what is normal, or each batch would call a little more strange."""
    rules = work.rules
    new = {row: member for row, member in work.moved("ACCEPT").items() if row in work.held}
    if not new:
        return
    rows, table = _held_against(work, new)
    for place, strange in strangeness_of(table, seed=rules.seed).items():
        reasons = strange.reasons(max_probability=rules.max_outlier_probability, max_z=rules.outlier_z)
        row = int(rows[place])
        member = new[row]
        decision = "REVIEW" if "outlier_z" in reasons else member.decision
        scores = {**member.scores, **strange.scores}
        work.set(row, member.but(decision=decision, reasons=(*member.reasons, *reasons), scores=scores))


def _held_against(work: Work, new: Mapping[int, Member]) -> tuple[I64, Table]:
    """The new rows and the older ones that say what is normal, in the order of their names: the key of a new one, the
    number of an older one as text."""
    columns = work.columns
    older = _as_text_sorted(_normal(work, new))
    fresh = sorted(new, key=lambda row: new[row].key)
    names = [*map(str, older.tolist()), *(new[row].key for row in fresh)]
    order = np.array(sorted(range(len(names)), key=names.__getitem__))
    rows = np.concatenate([older, np.array(fresh, np.int64)])[order]
    features = np.array([new[row].features for row in fresh], np.float64)
    if len(older):
        features = np.concatenate([work.roll.features(older), features])
    return rows, Table(columns.source[rows], columns.domain[rows], features[order], order >= len(older))


def _as_text_sorted(rows: I64) -> I64:
    """Numbers of at most 18 digits as their decimal text is sorted: filled up with zeros, the shorter one first."""
    digits = np.searchsorted(10 ** np.arange(1, 19), rows, side="right")
    return rows[np.lexsort((digits, rows * 10 ** (17 - digits)))]


def _normal(work: Work, new: Mapping[int, Member]) -> I64:
    """At most RESERVOIR older rows of each source that has new ones."""
    columns = work.columns
    mine = np.zeros(len(columns.sources), bool)
    mine[columns.source[list(new)]] = True
    there = work.kept("ACCEPT", "REVIEW") & mine[columns.source]
    rows = np.flatnonzero(there[: len(work.roll)])
    return rows[
        reservoir(columns.draw[rows], columns.source[rows], columns.domain[rows], RESERVOIR, seed=work.rules.seed)
    ]


@dataclass(frozen=True, slots=True)
class Stage:
    run: Callable[[Work], None]
    switches: tuple[str, ...]  # fields of CurateRules; it runs when one is on


STAGES: Mapping[str, Stage] = {
    "duplicates": Stage(duplicates, ("exact_duplicates", "near_duplicates")),
    "outliers": Stage(outliers, ("outliers",)),
    "doubt": Stage(doubt, ("doubt",)),
}


def run_stages(work: Work) -> None:
    for stage in STAGES.values():
        if any(getattr(work.rules, name) for name in stage.switches):
            stage.run(work)
