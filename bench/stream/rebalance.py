"""What kill -9 of one of three members costs the partitions that the others take over."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.stream.fill import Filler
from bench.stream.ours import Group, a_group
from bench.stream.servers import PARTITIONS, Servers
from bench.stream.table import Row
from l07.events.record import TopicPartition

SESSION_S, MORE_S = 6.0, 2.0
MEMBERS = 3
CHUNK = 200  # a record for each partition in nearly every turn
TURN_S, STEADY_S = 0.1, 4.0
AFTER_S = 3 * SESSION_S
LIMIT_S = 120.0


async def rebalance(servers: Servers, client: str) -> Row:
    """The largest gap between two applied records of a partition, over all partitions, from the kill on."""
    topics = {"traces": f"bench.{client}.traces", "scores": f"bench.{client}.scores"}
    servers.make_topics(list(topics.values()))
    more = {"bus__kafka__session_timeout_s": SESSION_S, **topics}
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        async with a_group(servers, client, Path(folder), **more) as group:  # type: ignore[arg-type]
            filler = Filler(servers.address, **topics)
            gaps = await _hurt(servers, group, filler)
    servers.drop_topics(list(topics.values()))
    note = f"the other {len(gaps) - len(_long(gaps))} of {len(gaps)} partitions at most {_rest(gaps):.1f} s"
    name = f"kill -9 of one of {MEMBERS} over {client}, largest gap, s"
    return Row(name, SESSION_S + MORE_S, None, [max(gaps.values())], ".1f", True, note)


def _long(gaps: Mapping[TopicPartition, float]) -> list[float]:
    """Of the partitions that waited for the session to end."""
    return [gap for gap in gaps.values() if gap > SESSION_S / 2]


def _rest(gaps: Mapping[TopicPartition, float]) -> float:
    return max((gap for gap in gaps.values() if gap <= SESSION_S / 2), default=0.0)


async def _hurt(servers: Servers, group: Group, filler: Filler) -> dict[TopicPartition, float]:
    for _ in range(MEMBERS):
        group.start()
    await _steady(servers, group, filler)
    group.members[0].kill()
    began = time.monotonic()
    last = dict.fromkeys(await group.positions(), began)
    gaps = dict.fromkeys(last, 0.0)
    before = await group.positions()
    while time.monotonic() - began < AFTER_S:
        await asyncio.to_thread(filler.write, CHUNK)
        now_at, now = await group.positions(), time.monotonic()
        for tp, offset in now_at.items():
            if offset > before.get(tp, 0):
                gaps[tp], last[tp] = max(gaps[tp], now - last[tp]), now
        before = now_at
        await asyncio.sleep(TURN_S)
    ended = time.monotonic()
    return {tp: max(gap, ended - last[tp] if ended - last[tp] > SESSION_S else 0.0) for tp, gap in gaps.items()}


async def _steady(servers: Servers, group: Group, filler: Filler) -> None:
    """Every partition has moved, and all members have joined: for a while nothing stands still."""
    deadline = time.monotonic() + LIMIT_S
    since = time.monotonic()
    before: dict[TopicPartition, int] = {}
    moved: dict[TopicPartition, float] = {}
    for _ in itertools.count():
        assert time.monotonic() < deadline, f"the group is not steady after {LIMIT_S:.0f} s"
        await asyncio.to_thread(filler.write, CHUNK)
        at, now = await group.positions(), time.monotonic()
        moved.update({tp: now for tp, offset in at.items() if offset > before.get(tp, 0)})
        before = at
        slow = len(moved) < 2 * PARTITIONS or now - min(moved.values()) > 1.0
        since = now if slow or servers.members(group.name) < MEMBERS else since
        if now - since > STEADY_S:
            return
        await asyncio.sleep(TURN_S)
