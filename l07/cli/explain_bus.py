"""What the bus holds of one run: its events where they lie, and dead letters that mention it."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from l07.cli.dlq import mentioning
from l07.cli.reading import has_bus
from l07.events.record import Record, TopicPartition
from l07.pipeline.ingest import IngestRules, ingest, ingest_rules
from l07.ports import Bus, Half, Slice, Unreadable
from l07.settings import Settings

PAGE_RECORDS = 500

Place = tuple[str, int, int]


class _Envelope(msgspec.Struct):
    type: str
    source: str
    id: str
    time: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)


async def on_bus(
    settings: Settings,
    ident: str,
    keys: Sequence[str],
    *,
    known: Iterable[Place],
    scan: bool,
    tell: Callable[[int], None],
) -> dict[str, Any]:
    """`events` about one of `keys`, in order of record time; `letters` that mention it; `read`: how many records were
    looked at, and `ends` of the partitions. Without `scan` only the records at the `known` places are read."""
    from l07.backends.open import open_bus

    if not has_bus(settings):
        return {"events": [], "letters": [], "read": 0}
    topics = settings.topics
    needles = _needles(ident)
    rules = ingest_rules(settings, cluster="explain")
    async with open_bus(settings, check=False) as bus:
        ends = await bus.end_offsets(topics.read)
        source = _every(bus, ends, tell) if scan else _at(bus, known)
        events, read = [], 0
        async for record in source:
            read += 1
            if _mentions(record, needles) and (event := _event(record, keys, rules)):
                events.append(event)
        letters = await mentioning(bus, settings, needles)
    events.sort(key=lambda event: (event["recorded"], event["at"]))
    return {"events": events, "letters": letters, "read": read}


def _needles(ident: str) -> list[bytes]:
    """The id as it may be written in JSON."""
    return sorted(
        {json.dumps(ident)[1:-1].encode(), json.dumps(ident, ensure_ascii=False)[1:-1].encode("utf-8", "replace")}
    )


async def _every(bus: Bus, ends: dict[TopicPartition, int] | Any, tell: Callable[[int], None]) -> AsyncIterator[Record]:
    read = 0
    for tp, end in sorted(ends.items()):
        offset = 0
        while offset < end:
            records = await bus.read(tp, offset, limit=PAGE_RECORDS)
            for record in records:
                yield record
            if not records:
                break
            offset, read = records[-1].offset + 1, read + len(records)
            tell(read)


async def _at(bus: Bus, known: Iterable[Place]) -> AsyncIterator[Record]:
    for topic, partition, offset in sorted(set(known)):
        for record in await bus.read(TopicPartition(topic, partition), offset, limit=1):
            if record.offset == offset:
                yield record


def _mentions(record: Record, needles: Sequence[bytes]) -> bool:
    parts = (record.value or b"", record.key or b"", *(value or b"" for _, value in record.headers))
    return any(needle in part for part in parts for needle in needles)


def _event(record: Record, keys: Sequence[str], rules: IngestRules) -> dict[str, Any] | None:
    """As the ingest reads it; None where it is about another run. What cannot be read only mentions the id."""
    piece = Slice(record.tp, record.offset, record.offset + 1, [record])
    (item,) = ingest([piece], rules=rules).items
    found: dict[str, Any] = {
        "at": f"{record.topic}:{record.partition}:{record.offset}",
        "recorded": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds"),
    }
    if isinstance(item, Half):
        return found | _said(item) if item.key in keys else None
    if isinstance(item, Unreadable):
        letter = json.loads(item.message.value)["data"]
        return found | {"part": "unreadable", "why": f"{letter['code']}: {letter['message']}"}
    return found | {"part": "ignored", "why": item.reason} if _is_about(record, keys) else None


def _said(half: Half) -> dict[str, Any]:
    envelope = _envelope.decode(half.body)
    said = {
        "key": half.key,
        "part": half.side,
        "type": envelope.type,
        "source": envelope.source,
        "id": envelope.id,
        "time": envelope.time,
        "score": half.score,
        "confidence": half.confidence,
        "evaluation": half.tiebreak or None,
        "track": half.track or None,
        "why": half.reason or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _is_about(record: Record, keys: Sequence[str]) -> bool:
    try:
        data = json.loads(record.value or b"{}").get("data", {})
    except (ValueError, AttributeError, RecursionError):
        return False
    if not isinstance(data, dict):
        return False
    return any(f"{kind}:{data.get(f'{kind}_id')}" in keys for kind in ("execution", "plan"))
