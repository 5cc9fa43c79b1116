"""Events in a list -> training examples: the ingest's decoder, a join within the call, the curator's extraction."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from l07.domain.example import NoExample, TrainingExample, extract
from l07.events.cloudevents import MAX_ID
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import TrackRule, ingest, ingest_rules
from l07.ports import Half, IngestBatch, SealedRow, Slice, Unreadable
from l07.service.joining import Run, gate, join
from l07.settings import Settings

log = logging.getLogger("l07.service")

PLACE = TopicPartition("process_events_batch", 0)  # in an example's provenance, where a bus would stand
ALL: Sequence[TrackRule] = (TrackRule("python", frozenset(), frozenset()),)  # a caller names the track with the dataset


class TrainingDataExtractor:
    """Counts over all calls. An event that cannot be read is counted with its code, and costs nothing else."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._rules = replace(ingest_rules(self._settings, cluster="python"), tracks=ALL)
        self._next = 0
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._rows: dict[str, tuple[TrainingExample, SealedRow]] = {}

    def extract(self, events: Iterable[Any], *, now: datetime) -> list[TrainingExample]:
        """An example for each run whose trace and score are both in `events`, as they become complete; no gate applies.

        An event is a dict, JSON text, or bytes. `now` stands for the time at which a bus would have taken them."""
        batch = self._decoded(events, now)
        halves = [item for item in batch.items if isinstance(item, Half)]
        joined = join(halves, prefer_separate=self._settings.join.prefer_separate_s > 0)
        self._counts.update(waiting=joined.waiting, duplicate=sum(joined.duplicates.values()))
        found = [example for run in joined.runs if (example := self._example(run)) is not None]
        self._counts["total_extracted"] += len(found)
        return found

    def row_of(self, example: TrainingExample) -> SealedRow | None:
        """The events behind `example`, if it is one of ours and was not changed."""
        known = self._rows.get(example.key)
        return known[1] if known is not None and known[0] == example else None

    def statistics(self) -> dict[str, Any]:
        """`waiting`: runs of which one part came; `ignored`: events that nobody reads; `reasons`: runs that can be no
        example; `errors`: events that cannot be read, by code."""
        names = ("total_events", "total_extracted", "waiting", "duplicate", "ignored")
        return {
            **{name: self._counts[name] for name in names},
            "reasons": dict(sorted(self._reasons.items())),
            "errors": dict(sorted(self._errors.items())),
        }

    def _decoded(self, events: Iterable[Any], now: datetime) -> IngestBatch:
        at_ms = int(now.timestamp() * 1000)
        records = [_record(event, self._next + number, at_ms) for number, event in enumerate(events)]
        start, self._next = self._next, self._next + len(records)
        batch = ingest([Slice(PLACE, start, self._next, records)], rules=self._rules)
        self._counts["total_events"] += len(records)
        for item in batch.items:
            if isinstance(item, Unreadable):
                code = msgspec.json.decode(item.message.value)["data"]["code"]
                self._errors[code] += 1
                log.warning("event_unreadable", extra={"code": code, "offset": item.offset})
            elif not isinstance(item, Half):
                self._counts["ignored"] += 1
        return batch

    def _example(self, run: Run) -> TrainingExample | None:
        row = _row(run, self._settings)
        example = extract(
            row.key,
            row.trace,
            row.evaluation,
            score=row.score,
            confidence=row.confidence,
            trace_at=row.trace_at,
            evaluation_at=row.evaluation_at,
            request=row.request,
            request_at=row.request_at,
        )
        if isinstance(example, NoExample):
            self._reasons[example.reason] += 1
            return None
        self._rows[row.key] = (example, row)
        return example


def _row(run: Run, settings: Settings) -> SealedRow:
    """A joined run as a sealed batch would hold it."""
    trace, judge, score = run.trace, run.judge, run.score
    assert trace is not None  # the join gives runs with both parts
    assert judge is not None
    quality, confidence = judge.score or 0.0, judge.confidence or 0.0
    reasons = gate(trace.reason, quality, confidence, **thresholds(settings))
    return SealedRow(
        key=trace.key,
        decision="REJECT" if reasons else "ACCEPT",
        reasons=reasons,
        score=quality,
        confidence=confidence,
        trace=trace.body,
        evaluation=score.body if score else None,
        trace_at=(PLACE.topic, PLACE.partition, trace.offset),
        evaluation_at=(PLACE.topic, PLACE.partition, score.offset) if score else None,
        request=run.request.body if run.request else None,
        request_at=(PLACE.topic, PLACE.partition, run.request.offset) if run.request else None,
    )


def _record(event: Any, offset: int, at_ms: int) -> Record:
    return Record(PLACE.topic, PLACE.partition, offset, at_ms, None, _bytes(event))


def _bytes(event: Any) -> bytes:
    """The event as a bus would hold it; what is no JSON stays unreadable, and gets its code from the decoder."""
    if isinstance(event, bytes | bytearray | memoryview):
        return bytes(event)
    if isinstance(event, str):
        return event.encode("utf-8", "surrogatepass")
    try:
        return json.dumps(event).encode()
    except (TypeError, ValueError, RecursionError):
        return b"not JSON"


def as_row(example: TrainingExample, *, number: int, settings: Settings) -> SealedRow:
    """An example that the caller made or changed, as one event: its row follows from that as from any other run's.

    Difficulty and features are measured again from the messages; what the caller wrote there does not count."""
    reasons = gate("", example.quality_score, example.confidence, **thresholds(settings))
    return SealedRow(
        key=example.key,
        decision="REJECT" if reasons else "ACCEPT",
        reasons=reasons,
        score=example.quality_score,
        confidence=example.confidence,
        trace=msgspec.json.encode(_as_event(example)),
        evaluation=None,
        trace_at=("given", 0, number),
        evaluation_at=None,
    )


def _as_event(example: TrainingExample) -> Mapping[str, Any]:
    kind, _, ident = example.key.partition(":")
    data: Mapping[str, Any] = {
        f"{kind}_id": ident,
        "domain": example.domain,
        "task_type": example.task_type,
        "task_id": example.task_id,
        "agent_id": example.agent_id,
        "model_version": example.model_version,
        "subject_id": example.subject_id or None,
        "goal": example.goal,
        "outcome": example.outcome,
        "messages": example.messages,
        "tools": example.tools or None,
    }
    return {
        "specversion": "1.0",
        "type": "planning.completed" if kind == "plan" else "execution.completed",
        "source": example.source,
        "id": f"given:{example.provenance.trace_event}"[:MAX_ID],
        "data": {name: value for name, value in data.items() if value is not None},
    }


def thresholds(settings: Settings) -> Mapping[str, float]:
    """The two gates, as keyword arguments."""
    rule = settings.filter
    return {"quality_threshold": rule.quality_threshold, "confidence_threshold": rule.confidence_threshold}
