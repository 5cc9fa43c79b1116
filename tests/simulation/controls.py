"""Rules that can be switched off, so that the judge is seen to find what each of them prevents."""

from collections.abc import Mapping, Sequence
from typing import Any

from l07.pipeline import announce
from l07.pipeline.pressure import Pressure, decide
from l07.runner import INGEST_GROUP, Stream, at_end, resume
from l07.service import ingesting, watching

# what is switched off -> in whose words
CONTROLS: Mapping[str, str] = {
    "fence": "the buffer applies a slice wherever it begins",
    "missing offset": "a partition that the buffer does not know accepts anything",
    "kafka offsets": "offsets are committed to Kafka, and none are compared in the buffer",
    "seek": "a new owner begins at Kafka's committed offset; the buffer refuses what is beyond its own",
    "refusal": "a refused slice counts as done, and nobody compares where the buffer stands",
    "duplicates": "a producer's repeat is a new record",
    "barrier": "what is in the outbox leaves before it is on disk",
    "relay": "an entry of the outbox is dropped before it is published",
    "progress": "expiry by the newest event time instead of by the progress of every partition",
    "claims": "an owner's word that a partition is at its end counts wherever the buffer stands",
    "ended": "that word counts in his own tick only",
    "pressure": "when memory is short everything waits, not what is ahead",
    "digest": "a topic that was made again is not compared with what was applied",
    "numbers": "after a flush the outbox counts from one again",
}


NEED_LOSS = frozenset({"missing offset", "claims", "numbers", "refusal"})  # seen when the buffer is flushed or restored


def patches(broken: frozenset[str]) -> list[tuple[Any, str, Any]]:
    """Places of the product that are replaced; what the buffer does, `state.py` leaves out by itself."""
    places: list[tuple[Any, str, Any]] = []
    if broken & {"kafka offsets", "seek"}:
        places.append((ingesting, "resume_from", _from_kafka))
    if "refusal" in broken:
        places.append((Stream, "at_end", _ends_of_the_member))
    if "relay" in broken:
        places.append((announce, "relay", _relay_that_forgets))
    if "pressure" in broken:
        places.append((watching, "decide", _hold_everything))
    if "digest" in broken:
        places.append((resume, "check_resume", lambda tp, last, digest: True))
        places.append((resume, "_outside", lambda *_: None))
        places.append((resume, "_named_otherwise", _no_other))
    return places


def _from_kafka(bus: Any, buffer: Any, **_: Any) -> Any:
    async def start(assigned: Sequence[Any]) -> Mapping[Any, int]:
        topics = sorted({tp.topic for tp in assigned})
        found = await bus.committed(INGEST_GROUP, topics)
        begins = await bus.begin_offsets(ingesting_topics())
        await buffer.begin(begins)
        return {tp: found.get(tp, begins.get(tp, 0)) for tp in assigned}

    return start


async def _no_other(*_: Any) -> dict[Any, Any]:
    return {}


def ingesting_topics() -> tuple[str, ...]:
    return ("execution.traces", "planning.traces", "evaluation.quality_scores")


async def _ends_of_the_member(stream: Stream) -> Mapping[Any, int]:
    return await at_end(stream.sub, under_way=lambda: stream.under_way() | stream.lost)


async def _relay_that_forgets(buffer: Any, bus: Any, *, topic: str, prefix: str = "", limit: int = 100) -> int:
    entries = await buffer.outbox(limit=limit)
    if entries:
        await buffer.sent([entry.id for entry in entries])
        await bus.publish([announce._message(entry, topic, prefix) for entry in entries])
    return len(entries)


def _hold_everything(memory: Any, progress: Any, **rules: Any) -> Pressure:
    found = decide(memory, progress, **rules)
    return found if found.level == "open" else found._replace(hold=frozenset(progress))
