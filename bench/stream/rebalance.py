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
MEMBERS, TRIES = 3, 3
INPUTS = ("traces", "scores", "planning")
CHUNK = 400  # a record for each partition in nearly every turn
TURN_S, STEADY_S = 0.1, 4.0
AFTER_S = 3 * SESSION_S
LIMIT_S = 120.0


async def rebalance(servers: Servers, client: str) -> Row:
    """The largest gap between two applied records of a partition, over all partitions, from the kill on; the worst try counts."""
    tries = [await _try(servers, client, number) for number in range(TRIES)]
    name = f"kill -9 of one of {MEMBERS} over {client}, largest gap, s"
    idle = sum(not _taken_over(gaps) for gaps in tries)
    if idle:  # a member without partitions costs nothing, and shows nothing
        return Row(
            name, SESSION_S + MORE_S, None, at_most=True, note=f"nothing was taken over in {idle} of {TRIES} tries"
        )
    each = ", ".join(f"{max(gaps.values()):.1f} ({len(_taken_over(gaps))} of {len(gaps)} taken over)" for gaps in tries)
    rest = max(gap for gaps in tries for gap in gaps.values() if gap <= SESSION_S / 2)
    note = f"worst of {each}; the other partitions at most {rest:.1f} s"
    return Row(name, SESSION_S + MORE_S, None, [max(max(gaps.values()) for gaps in tries)], ".1f", True, note)


def _taken_over(gaps: Mapping[TopicPartition, float]) -> list[TopicPartition]:
    """Those that waited for the session to end."""
    return [tp for tp, gap in gaps.items() if gap > SESSION_S / 2]


async def _try(servers: Servers, client: str, number: int) -> dict[TopicPartition, float]:
    # all that the group reads is under load: a member may be given the partitions of one topic alone
    topics = {name: f"bench.{client}.{number}.{name}" for name in INPUTS}
    servers.make_topics(list(topics.values()))
    more = {"bus__kafka__session_timeout_s": SESSION_S, **topics}
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        async with a_group(servers, client, Path(folder), **more) as group:  # type: ignore[arg-type]
            gaps = await _hurt(servers, group, Filler(servers.address, **topics))
    servers.drop_topics(list(topics.values()))
    return gaps


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
        shares = servers.shares(group.name)
        uneven = len(shares) < MEMBERS or min(shares) == 0  # whoever is killed must have partitions
        slow = len(moved) < len(INPUTS) * PARTITIONS or now - min(moved.values()) > 1.0
        since = now if slow or uneven else since
        if now - since > STEADY_S:
            return
        await asyncio.sleep(TURN_S)
