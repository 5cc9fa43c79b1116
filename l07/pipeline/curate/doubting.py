"""Doubt as a stage: who is held against whom, and what becomes of a doubtful row."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from l07.domain.dataset import Member
from l07.domain.doubt import Attempt, Doubt, Limits, Reading, Run, doubts
from l07.domain.quality import COMPLETENESS
from l07.pipeline.curate.columns import DECISION, DECISION_NAMES, Columns, word
from l07.pipeline.curate.readings import readings_of
from l07.pipeline.curate.texts import COPIED
from l07.pipeline.curate.work import Work

ENOUGH = 1_000  # accepted new rows of a source; with fewer its newest ENOUGH older ones are read beside them
UNASKED = COMPLETENESS | {"low_confidence"}  # rejected for something else than a low score

Source = tuple[str, str]  # source, domain


class _Texts:
    """Of the new rows some are held; an older one was held by a build before, or is read from its file when somebody asks,
    and once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._held = work.readings.texts()
        self._rows: dict[str, int] = {}
        self._asked: set[str] = set()

    def add(self, rows: Mapping[str, int]) -> None:
        """Older rows by key."""
        self._rows |= rows

    def there(self, keys: Collection[str]) -> Collection[str]:
        found = [key for key in keys if key in self._held or key in self._rows]
        self._asked.update(found)
        return found

    def fetch(self, keys: Collection[str]) -> Mapping[str, Run]:
        content, table = self._work.roll.columns.content, self._work.roll.columns.table
        for key in keys:
            if key not in self._held and table[row := self._rows[key]]:
                run = COPIED.get((key, int(content[row])))
                self._held |= {key: run} if run else {}
        missing = {self._rows[key]: key for key in keys if key not in self._held}
        bodies = self._work.texts_of(list(missing)) if missing else {}
        self._held |= {missing[row]: Run(body.messages, body.goal) for row, body in bodies.items()}
        return {key: self._held[key] for key in keys if key in self._held}

    def remember(self, new: Mapping[str, int]) -> None:
        """Those that were asked for, for the next builds of this process, also those whose copies are known: they are made anew
        when another run comes beside them. `new`: 64 bits of each new one's digest."""
        content = self._work.roll.columns.content
        for key in sorted(self._asked):
            name = key, new[key] if key in new else int(content[self._rows[key]])
            if key in self._held:
                COPIED.put(name, self._held[key])
            else:
                COPIED.keep(name)


def doubt(work: Work) -> None:
    """Judge the new rows against each other and against the newest of their source. What is doubtful goes to review,
    also of the rejected: a good run with a bad score must not become a negative."""
    moved = {row: member for row, member in work.moved("ACCEPT", "REJECT").items() if row in work.held}
    attempts = {row: made for row, member in moved.items() if (made := _attempt(work, member)) is not None}
    texts = _Texts(work)
    old = list(_older(work, attempts.values(), texts))
    rules = work.rules
    limits = Limits(run_share=rules.doubt_run_share, label_share=rules.doubt_label_share)
    found = doubts([*attempts.values(), *old], texts, limits=limits, seed=rules.seed)
    texts.remember({attempt.key: attempt.content for attempt in attempts.values()})
    for row, attempt in attempts.items():
        work.set(row, _with(moved[row], found[attempt.key]))


def _attempt(work: Work, member: Member) -> Attempt | None:
    reading = work.readings.of(member.key)
    if reading is None or not _asked(member.decision, member.reasons):
        return None
    accepted = member.decision == "ACCEPT"
    values = (*member.features, *reading.values)
    return Attempt(
        member.key,
        member.source,
        member.domain,
        member.task,
        accepted,
        values,
        reading.trail,
        True,
        word(member.content),
    )


def _asked(decision: str, reasons: Iterable[str]) -> bool:
    return decision == "ACCEPT" or (decision == "REJECT" and UNASKED.isdisjoint(reasons))


def _older(work: Work, new: Iterable[Attempt], texts: _Texts) -> Iterator[Attempt]:
    """Of the sources that bring few runs."""
    count: dict[Source, int] = defaultdict(int)
    for attempt in new:
        count[attempt.source, attempt.domain] += attempt.accepted
    rows = [row for source, number in count.items() if number < ENOUGH for row in _newest(work, source)]
    asked = np.array([row for row in rows if _is_asked(work.columns, row)], np.int64)
    keys, contents = work.roll.keys(asked.tolist()), work.roll.columns.content[asked].tolist()
    texts.add(dict(zip(keys, asked.tolist(), strict=True)))
    readings = readings_of(dict(zip(keys, contents, strict=True)), texts)
    features = work.roll.features(asked).tolist()
    for row, key, content, values in zip(asked.tolist(), keys, contents, features, strict=True):
        if key in readings:
            yield _known(work.columns, row, key, content, () if np.isnan(values[0]) else tuple(values), readings[key])


def _is_asked(columns: Columns, row: int) -> bool:
    reasons = columns.reason_lists.names[columns.reasons[row]]
    return bool(columns.table[row]) and _asked(DECISION_NAMES[columns.decision[row]], reasons)


def _known(
    columns: Columns, row: int, key: str, content: int, features: tuple[float, ...], reading: Reading
) -> Attempt:
    return Attempt(
        key,
        columns.sources.names[columns.source[row]],
        columns.domains.names[columns.domain[row]],
        columns.tasks.names[columns.task[row]],
        bool(columns.decision[row] == DECISION["ACCEPT"]),
        (*features, *reading.values),
        reading.trail,
        new=False,
        content=content,
    )


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
