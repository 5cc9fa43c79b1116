"""A consumer group's committed offsets, read and written from outside of it."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from l07.backends.kafka.admin import Admin, told
from l07.backends.kafka.fates import fate_of_number
from l07.events.record import TopicPartition

MOVING = frozenset(
    {14, 15, 16}
)  # the coordinator loads, is being found, or has moved: in the first second of a cluster
WAIT_S = 0.1
NO_MEMBER = ""


async def committed_offsets(admin: Admin, group: str, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """A partition without a commit is left out."""
    if not tps:
        return {}
    wanted = [(topic, [tp.partition for tp in part]) for topic, part in groupby(sorted(tps), key=lambda tp: tp.topic)]
    answer = await _ask(admin, group, OffsetFetchRequest(group, wanted), "committed offsets")
    return {
        TopicPartition(topic, number): offset
        for topic, parts in answer.topics
        for number, offset, _, _ in parts
        if offset >= 0
    }


async def commit_offsets(admin: Admin, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    if not offsets:
        return
    ordered = groupby(sorted(offsets.items()), key=lambda item: item[0].topic)
    parts = [(topic, [(tp.partition, offset, "") for tp, offset in part]) for topic, part in ordered]
    generation, keep = OffsetCommitRequest.DEFAULT_GENERATION_ID, OffsetCommitRequest.DEFAULT_RETENTION_TIME
    await _ask(admin, group, OffsetCommitRequest(group, generation, NO_MEMBER, keep, parts), "committing offsets")


async def _ask(admin: Admin, group: str, request: Any, doing: str) -> Any:
    """Send it to the group's coordinator, for a moment again and again while there is none."""
    deadline = asyncio.get_running_loop().time() + admin.timeout_s
    while True:
        with told(f"{doing} of the group {group}"):
            error, answer = await _once(admin, group, request)
        if error == 0:
            return answer
        if error not in MOVING or asyncio.get_running_loop().time() > deadline:
            raise fate_of_number(error, f"error {error}", doing=f"{doing} of the group {group}")
        await asyncio.sleep(WAIT_S)


async def _once(admin: Admin, group: str, request: Any) -> tuple[int, Any]:
    """The first error in the answer, 0 without; and the answer."""
    error, node = await admin.coordinator(group)
    if error:
        return error, None
    answer = await admin.send(node, request)
    errors = [getattr(answer, "error_code", 0), *(part[-1] for _, parts in answer.topics for part in parts)]
    return next((error for error in errors if error), 0), answer
