"""What is done to the servers, the network and the consumers; one function a kind, and a schedule drawn from a seed.

A fault returns when it is over, and says what was done; what heals is measured from then on."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import redis

from tests.campaign.kafka import BROKER_SESSION_S
from tests.campaign.members import Member
from tests.campaign.world import burst

if TYPE_CHECKING:
    from tests.campaign.stage import Stage

Fault = Callable[["Stage", random.Random], str]
SESSION_S = 6.0


def kill_member(stage: "Stage", rng: random.Random) -> str:
    """kill -9 of an ingest consumer; it comes back by itself."""
    member = rng.choice(stage.ingesting)
    member.kill()
    return member.name


def roll(stage: "Stage", rng: random.Random) -> str:
    """SIGTERM and start, one after the other: a rolling upgrade."""
    told = []
    for member in stage.ingesting:
        told.append(f"{member.name} {member.leave()}")
        member.start()
        stage.pause(rng.uniform(0.2, 1.0))
    return "; ".join(told)


def zombie(stage: "Stage", rng: random.Random) -> str:
    """Frozen beyond the session timeout: it wakes up with work in hand that is others' now."""
    member = rng.choice(stage.ingesting)
    member.signal(SIGSTOP)
    stage.pause(SESSION_S + rng.uniform(1.5, 3.5))
    member.signal(SIGCONT)
    return member.name


def late_write(stage: "Stage", rng: random.Random) -> str:
    """What the consumers have on its way to Redis is held back, they are killed, and it arrives when others have done the work."""
    lines = stage.proxy.hold(stage.doors[-1])
    stage.pause(rng.uniform(1.0, 2.0))
    for member in stage.ingesting:
        member.kill()
    stage.pause(SESSION_S + rng.uniform(3.0, 5.0))
    for line in lines:
        line.held = False
    return f"{len(lines)} connections"


def storm(stage: "Stage", rng: random.Random) -> str:
    """Members come and go faster than the group settles."""
    extra = stage.extra
    extra.wanted = True
    for _ in range(rng.randint(3, 4)):
        extra.start()
        stage.pause(rng.uniform(0.5, 2.5))
        (extra.kill if rng.random() < 0.5 else extra.leave)()
    extra.wanted = False
    return "an extra member came and went"


def kill_broker(stage: "Stage", rng: random.Random) -> str:
    node = rng.choice(stage.kafka.nodes)
    stage.kafka.kill(node)
    stage.pause(rng.uniform(0.5, BROKER_SESSION_S))
    stage.kafka.run(node)
    stage.kafka.wait_ready()
    return f"broker {node.number}"


def freeze_broker(stage: "Stage", rng: random.Random) -> str:
    node = rng.choice(stage.kafka.nodes)
    stage.kafka.freeze(node)
    stage.pause(BROKER_SESSION_S + rng.uniform(0.5, 2.0) if len(stage.kafka.nodes) > 1 else rng.uniform(3, 7))
    stage.kafka.wake(node)
    return f"broker {node.number}"


def power_loss(stage: "Stage", rng: random.Random) -> str:
    """The buffer's machine loses its power: what was not promised to be on disk is gone."""
    lost, most = stage.redis.power_loss(rng)
    stage.pause(rng.uniform(0.0, 2.0))
    stage.redis.start()
    return f"{lost} of {most} bytes that were not promised"


def kill_redis(stage: "Stage", rng: random.Random) -> str:
    stage.redis.kill()
    stage.pause(rng.uniform(0.1, 4.0))
    stage.redis.start()
    return "nothing lost"


def flush(stage: "Stage", rng: random.Random) -> str:
    """The buffer is emptied: offsets and state are gone together, the log brings all of it back."""
    with stage.nobody_publishes():
        stage.redis.client.execute_command("FLUSHALL")
        if rng.random() < 0.5:
            stage.redis.client.execute_command("FUNCTION", "FLUSH")
    return "everything"


def old_backup(stage: "Stage", rng: random.Random) -> str:
    """The buffer's file is replaced by a copy of some seconds ago."""
    copy = stage.redis.backup()
    stage.pause(rng.uniform(4, 10))
    with stage.nobody_publishes():
        stage.redis.kill()
        stage.redis.restore(copy)
        stage.redis.start()
    return "back to an older copy"


def cut(stage: "Stage", rng: random.Random) -> str:
    """Connections break, again and again, in the middle of whatever they carry."""
    count = 0
    for _ in range(rng.randint(3, 8)):
        for door in rng.sample(stage.doors, rng.randint(1, len(stage.doors))):
            count += stage.proxy.cut(door)
        stage.pause(rng.uniform(0.05, 0.8))
    return f"{count} connections"


def refuse(stage: "Stage", rng: random.Random) -> str:
    door = rng.choice(stage.doors)
    stage.proxy.refuse(door)
    stage.pause(rng.uniform(2, 8))
    door.mode = "open"
    return stage.name_of(door)


def stall(stage: "Stage", rng: random.Random) -> str:
    """Nothing goes through, and nobody is told."""
    door = rng.choice(stage.doors)
    door.mode = "stall"
    stage.pause(rng.uniform(3, 9))
    door.mode = "open"
    if rng.random() < 0.5:
        stage.proxy.cut(door)
    return stage.name_of(door)


def slow(stage: "Stage", rng: random.Random) -> str:
    door = rng.choice(stage.doors)
    door.delay_s = rng.uniform(0.05, 0.4)
    stage.pause(rng.uniform(3, 7))
    door.delay_s = 0.0
    return stage.name_of(door)


def clock_step(stage: "Stage", rng: random.Random) -> str:
    """The first member's clock jumps, and back; by less than `join.wait_s`, which is what a clock may be wrong by."""
    offset = rng.choice([-7200, -600, 600, 7200])
    stage.clock.write_text(str(offset))
    stage.pause(rng.uniform(4, 7))
    stage.clock.write_text("0")
    return f"{offset} s"


def full_memory(stage: "Stage", rng: random.Random) -> str:
    """The buffer's memory is full for a while."""
    try:
        used = int(stage.redis.client.info("memory")["used_memory"])
        limit = used + rng.choice([-200_000, 20_000, 200_000])
        stage.redis.client.config_set("maxmemory", limit)
        stage.pause(rng.uniform(4, 8))
    finally:
        stage.redis.client.config_set("maxmemory", stage.redis_limit)
    return f"{limit - used:+} bytes left"


def poison_burst(stage: "Stage", rng: random.Random) -> str:
    sends = list(burst(rng, 90))
    stage.feeder.plain(sends)
    stage.feeder.raw_headers()
    return f"{len(sends)} records and an undecodable header for each partition"


def kill_curator(stage: "Stage", rng: random.Random) -> str:
    if not stage.curating:
        return "there is none"
    member = rng.choice(stage.curating)
    member.kill()
    return member.name


def kill_everybody(stage: "Stage", rng: random.Random) -> str:
    members: Sequence[Member] = stage.members
    for member in members:
        member.kill()
    return f"{len(members)} consumers at once"


KINDS: Mapping[str, tuple[Fault, int]] = {
    "kill -9 a member": (kill_member, 8),
    "rolling restart": (roll, 3),
    "zombie (SIGSTOP)": (zombie, 6),
    "late write": (late_write, 4),
    "rebalance storm": (storm, 3),
    "kill -9 a broker": (kill_broker, 4),
    "freeze a broker": (freeze_broker, 3),
    "Redis power loss": (power_loss, 9),
    "kill -9 Redis": (kill_redis, 3),
    "Redis flushed": (flush, 2),
    "Redis older backup": (old_backup, 2),
    "connections cut": (cut, 5),
    "connections refused": (refuse, 3),
    "connections stalled": (stall, 4),
    "slow network": (slow, 2),
    "clock step": (clock_step, 2),
    "memory full": (full_memory, 3),
    "poison burst": (poison_burst, 2),
    "kill -9 the curator": (kill_curator, 3),
    "kill -9 everybody": (kill_everybody, 2),
}


def schedule(seed: int, count: int, *, without: Sequence[str] = ()) -> list[str]:
    """`count` faults, each kind at least once where there is room for it; the same seed gives the same."""
    rng = random.Random(seed ^ 0xFA17)
    names = [name for name in KINDS if name not in without]
    weights = [KINDS[name][1] for name in names]
    once = sorted(names, key=lambda name: (-KINDS[name][1], name))[:count]
    out = [*once, *rng.choices(names, weights, k=max(0, count - len(once)))]
    rng.shuffle(out)
    return out


def patient(fault: Fault, stage: "Stage", rng: random.Random) -> str:
    """A fault that needs an answer of Redis asks again while an earlier one heals."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return fault(stage, rng)
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            stage.pause(0.2)
