"""Where a partition goes on: at the buffer's offset, when the log under it is still the one that was applied."""

import logging
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from l07.errors import Fatal, RecordsGone, SourceChanged
from l07.events.record import TopicPartition
from l07.pipeline.ingest import check_resume
from l07.ports import Bus, ExampleBuffer, Position, Start

log = logging.getLogger("l07.runner")

Offsets = Mapping[TopicPartition, int]


@dataclass(slots=True)
class Halts:
    """Partitions that stand still, each with the reason, while the others go on. A person mends them: `l07 replay --accept-reset`."""

    reasons: dict[TopicPartition, Fatal] = field(default_factory=dict)
    fresh: list[tuple[TopicPartition, Fatal]] = field(default_factory=list)  # not told to the outside yet

    def note(self, tp: TopicPartition, trouble: Fatal | None) -> None:
        """What was seen at this look; the same trouble again is told once."""
        before = self.reasons.pop(tp, None)
        if trouble is None:
            if before is not None:
                log.warning("partition_mended", extra={"tp": str(tp), "code": before.code})
            return
        self.reasons[tp] = trouble
        if before is None or before.message != trouble.message:
            log.error("partition_halted", extra={"tp": str(tp), "code": trouble.code, "why": trouble.message})
            self.fresh.append((tp, trouble))


def resume_from(
    bus: Bus,
    buffer: ExampleBuffer,
    *,
    halts: Halts | None = None,
    inputs: Sequence[str] = (),
    logs: MutableMapping[TopicPartition, str] | None = None,
) -> Start:
    """On assignment the buffer's offsets count, not the group's. A partition that the buffer does not know begins where its
    log begins. With `halts` a partition in trouble is left out and noted there; without, its trouble comes out.

    `inputs`: all topics that are joined. The buffer is told of each of their partitions, whoever reads it: expiry waits for
    all that it knows, and for no other. `logs`: takes down of each partition which log it was when it began.

    Raises:
        SourceChanged: E7480, the log under a stored offset was made again or cut.
        RecordsGone: E7481, retention took records before they were applied."""

    async def start(assigned: Sequence[TopicPartition]) -> Offsets:
        topics = sorted({tp.topic for tp in assigned})
        ids = await bus.log_ids(
            topics
        )  # first: a topic that is made again while we look is another one at the next look
        begins = await bus.begin_offsets(sorted({*topics, *inputs}))
        stored = await _known(buffer, sorted({*assigned, *begins}), begins)
        others = await _named_otherwise(buffer, assigned, ids)
        ends = await bus.end_offsets(topics)
        out: dict[TopicPartition, int] = {}
        for tp in assigned:
            position = stored[tp]
            trouble = (
                others.get(tp)
                or _outside(tp, position, begins.get(tp, 0), ends.get(tp, 0))
                or await _other(bus, tp, position)
            )
            if trouble is not None and halts is None:
                raise trouble
            if halts is not None:
                halts.note(tp, trouble)
            if trouble is None:
                out[tp] = position.next
            if logs is not None:
                logs[tp] = ids.get(tp.topic, "")
        return out

    return start


async def _known(
    buffer: ExampleBuffer, assigned: Sequence[TopicPartition], begins: Offsets
) -> Mapping[TopicPartition, Position]:
    """Where the buffer stands in each; one that it does not know yet is told where its log begins."""
    stored = await buffer.positions()
    new = {tp: begins.get(tp, 0) for tp in assigned if tp not in stored}
    if not new:
        return stored
    await buffer.begin(new)
    stored = await buffer.positions()  # another member may have told it something else first
    return {tp: stored.get(tp, Position(new.get(tp, 0), b"", 0)) for tp in assigned}


async def made_again(bus: Bus, buffer: ExampleBuffer, tps: Collection[TopicPartition]) -> set[TopicPartition]:
    """Of partitions that the buffer knows: those whose log is not the one that it has applied, by the topic's id. A member
    that reads on sees nothing of it where the new log has grown beyond its position."""
    ids = await bus.log_ids(sorted({tp.topic for tp in tps}))
    return set(await _named_otherwise(buffer, tps, ids))


async def _named_otherwise(
    buffer: ExampleBuffer, tps: Collection[TopicPartition], ids: Mapping[str, str]
) -> dict[TopicPartition, Fatal]:
    names = {tp: ids[tp.topic] for tp in tps if tp.topic in ids}
    found = await buffer.name_logs(names) if names else {}
    return {
        tp: SourceChanged(
            f"{tp} is of the topic {names[tp]}, and what was applied was of {known}: it was made again", tp=str(tp)
        )
        for tp, known in found.items()
    }


def _outside(tp: TopicPartition, position: Position, begin: int, end: int) -> Fatal | None:
    if position.next > end:
        text = f"{tp} ends at {end}, but {position.next} records of it were applied: the topic was made again or cut"
        return SourceChanged(text, tp=str(tp))
    if position.next < begin:
        gone = begin - position.next
        text = f"{tp} begins at {begin} and was applied up to {position.next}: retention took {gone} records that were never applied"
        return RecordsGone(text, tp=str(tp), gone=gone)
    return None


async def _other(bus: Bus, tp: TopicPartition, position: Position) -> Fatal | None:
    """The record before the stored offset may be a marker, compacted away or taken by retention: then nothing can be compared."""
    if not position.last_digest or position.next == 0:
        return None
    found = await bus.read(tp, position.next - 1)
    last = found[0] if found and found[0].offset == position.next - 1 else None
    if check_resume(tp, last, position.last_digest):
        return None
    text = f"{tp} holds another record at offset {position.next - 1} than the one that was applied: the topic was made again"
    return SourceChanged(text, tp=str(tp))
