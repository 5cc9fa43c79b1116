"""Doubt as a stage: who is held against whom, and what becomes of a doubtful row."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from l07.domain.dataset import Member
from l07.domain.doubt import Attempt, Doubt, Limits, Reading, Run, doubts, read
from l07.domain.quality import COMPLETENESS
from l07.pipeline.curate.work import Work

ENOUGH = 1_000  # accepted new rows of a source; with fewer its newest ENOUGH older ones are read beside them
UNASKED = COMPLETENESS | {"low_confidence"}  # rejected for something else than a low score

Source = tuple[str, str]  # source, domain


def doubt(work: Work) -> None:
    """Judge the new rows against each other and against the newest of their source. What is doubtful goes to review,
    also of the rejected: a good run with a bad score must not become a negative."""
    moved = {row: member for row, member in work.moved("ACCEPT", "REJECT").items() if row in work.held}
    attempts = {row: made for row, member in moved.items() if (made := _attempt(work, member)) is not None}
    texts = work.readings.texts()
    old = list(_older(work, attempts.values(), texts))
    rules = work.rules
    limits = Limits(run_share=rules.doubt_run_share, label_share=rules.doubt_label_share)
    found = doubts(
        [*attempts.values(), *old],
        lambda keys: {key: texts[key] for key in keys if key in texts},
        limits=limits,
        seed=rules.seed,
    )
    for row, attempt in attempts.items():
        work.set(row, _with(moved[row], found[attempt.key]))


def _attempt(work: Work, member: Member) -> Attempt | None:
    reading = work.readings.of(member.key)
    if reading is None or not _asked(member.decision, member.reasons):
        return None
    return _made(member, reading, new=True)


def _asked(decision: str, reasons: Iterable[str]) -> bool:
    return decision == "ACCEPT" or (decision == "REJECT" and UNASKED.isdisjoint(reasons))


def _made(member: Member, reading: Reading, *, new: bool) -> Attempt:
    values = (*member.features, *reading.values)
    accepted = member.decision == "ACCEPT"
    return Attempt(member.key, member.source, member.domain, member.task, accepted, values, reading.trail, new)


def _older(work: Work, new: Iterable[Attempt], texts: dict[str, Run]) -> Iterator[Attempt]:
    """Of the sources that bring few runs; their texts join those that may be copied."""
    count: dict[Source, int] = defaultdict(int)
    for attempt in new:
        count[attempt.source, attempt.domain] += attempt.accepted
    rows = [row for source, number in count.items() if number < ENOUGH for row in _newest(work, source)]
    members = work.before(rows)
    bodies = work.texts_of(rows)
    for row, member in members.items():
        if row in bodies and _asked(member.decision, member.reasons):
            body = bodies[row]
            if member.decision == "ACCEPT":
                texts[member.key] = Run(body.messages, body.goal)
            yield _made(member, read(body.messages, body.goal), new=False)


def _newest(work: Work, source: Source) -> list[int]:
    columns = work.columns
    mine = (columns.source == columns.sources.find(source[0])) & (columns.domain == columns.domains.find(source[1]))
    rows = work.old(mine & work.kept("ACCEPT", "REJECT"))
    return [int(row) for row in np.sort(rows)[-ENOUGH:]]


def _with(member: Member, doubt: Doubt) -> Member:
    """That nothing could be said is noted with accepted rows alone: the others have a reason already."""
    scores = {"doubt_run": doubt.run, "doubt_label": doubt.label}
    said = {name: value for name, value in scores.items() if value is not None}
    if not said and member.decision != "ACCEPT":
        return member
    decision = "REVIEW" if doubt.doubtful_run or doubt.doubtful_label else member.decision
    return member.but(decision=decision, reasons=(*member.reasons, *doubt.reasons), scores={**member.scores, **said})
