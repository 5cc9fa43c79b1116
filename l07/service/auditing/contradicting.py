"""Runs with a second score before the seal: both are events, which go through the ingest and the join as anybody's do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from l07.domain.plants.base import SecondScore
from l07.domain.plants.plan import Plant
from l07.ports import Half, SealedRow
from l07.service.auditing.reading import halves_of
from l07.service.extracting import thresholds
from l07.service.joining import gate, join
from l07.settings import Settings

OWN_ID, SMALLER_ID, LARGER_ID = "m", "a", "z"  # of evaluations


class Contradicted(NamedTuple):
    """`rows`: the runs as the join gives them, by key. `duplicates`: the scores that do not count, by reason."""

    rows: Mapping[str, SealedRow]
    duplicates: Mapping[str, int]


def contradict(rows: Sequence[SealedRow], plants: Iterable[Plant], settings: Settings) -> Contradicted:
    """Of the plants that have a second score."""
    asked = {plant.of: plant.second for plant in plants if plant.second is not None}
    theirs = {row.key: row for row in rows if row.key in asked}
    lines = [line for row in theirs.values() for line in _lines(row, asked[row.key], settings.types.score[0])]
    scores = halves_of(lines, settings, lambda _: None).halves
    traces = [_trace(row, number) for number, row in enumerate(theirs.values())]
    joined = join([*traces, *scores], prefer_separate=settings.join.prefer_separate_s > 0)
    judged = {run.score.key: run.score for run in joined.runs if run.score is not None}
    return Contradicted({key: _judged(row, judged[key], settings) for key, row in theirs.items()}, joined.duplicates)


def _lines(row: SealedRow, second: SecondScore, name: str) -> list[bytes]:
    own = _score(name, row.key, row.score, row.confidence, OWN_ID)
    ident = SMALLER_ID if second.smaller_id else LARGER_ID
    other = _score(name, row.key, second.quality_score, second.confidence, ident)
    return [other, own] if second.first else [own, other]


def _score(name: str, key: str, quality: float, confidence: float, ident: str) -> bytes:
    kind, _, run = key.partition(":")
    data = {f"{kind}_id": run, "evaluation_id": ident, "quality_score": quality, "confidence": confidence}
    envelope = {"specversion": "1.0", "type": name, "source": "/l07/audit", "id": f"audit-{ident}"}
    return msgspec.json.encode({**envelope, "data": data})


def _trace(row: SealedRow, number: int) -> Half:
    """Without a score of its own: the two are events."""
    return Half(0, number, 0, row.key, "trace", b"", "", "", None, None, "", row.trace)


def _judged(row: SealedRow, score: Half, settings: Settings) -> SealedRow:
    """The run as it was where its own score counts; else with the other score."""
    if score.tiebreak == OWN_ID:
        return row
    quality, confidence = score.score or 0.0, score.confidence or 0.0
    lasting = [reason for reason in row.reasons if reason not in ("low_score", "low_confidence")]
    reasons = gate(lasting[0] if lasting else "", quality, confidence, **thresholds(settings))
    return row._replace(
        decision="REJECT" if reasons else "ACCEPT", reasons=reasons, score=quality, confidence=confidence,
        evaluation=score.body,
    )  # fmt: skip
