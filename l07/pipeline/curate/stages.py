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
from l07.domain.drawing import reservoir
from l07.domain.outliers import RESERVOIR, Run, strangeness
from l07.pipeline.curate.columns import words
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
    runs = [Run(m.key, m.source, m.domain, m.features, new=True) for m in new.values()]
    of_key = {member.key: row for row, member in new.items()}
    for key, strange in strangeness([*runs, *_normal(work, new)], seed=rules.seed).items():
        reasons = strange.reasons(max_probability=rules.max_outlier_probability, max_z=rules.outlier_z)
        member = new[of_key[key]]
        decision = "REVIEW" if "outlier_z" in reasons else member.decision
        scores = {**member.scores, **strange.scores}
        work.set(of_key[key], member.but(decision=decision, reasons=(*member.reasons, *reasons), scores=scores))


def _normal(work: Work, new: Mapping[int, object]) -> list[Run]:
    """At most RESERVOIR older rows of each source that has new ones."""
    columns = work.columns
    mine = np.zeros(len(columns.sources), bool)
    mine[columns.source[list(new)]] = True
    there = work.kept("ACCEPT", "REVIEW") & mine[columns.source]
    rows = np.flatnonzero(there[: len(work.roll)])
    chosen = rows[
        reservoir(columns.draw[rows], columns.source[rows], columns.domain[rows], RESERVOIR, seed=work.rules.seed)
    ]
    names = zip(columns.source[chosen].tolist(), columns.domain[chosen].tolist(), strict=True)
    features = map(tuple, work.roll.features(chosen).tolist())
    return [
        Run(f"{row}", columns.sources.names[source], columns.domains.names[domain], values, new=False)
        for row, (source, domain), values in zip(chosen.tolist(), names, features, strict=True)
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
