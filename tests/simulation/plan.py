"""What a seed stands for: how many members, which faults when. A fault is data, so that a schedule can be printed."""

import random
from dataclasses import dataclass, field

FAULTS_S = 14.0  # until then things go wrong; then everything heals


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: str
    lasts_s: float = 0.0
    which: int = 0  # a member, a partition, a call: what the kind makes of it

    def __str__(self) -> str:
        return f"{self.at_s:7.3f} s  {self.kind} {self.which} for {self.lasts_s:.2f} s"


@dataclass(slots=True)
class Plan:
    seed: int
    runs: int
    members: int
    slices: int
    cooperative: bool
    traces_first: bool
    lossy: bool  # the buffer may lose what was on its disk: flushed, or restored from a backup
    memory: int  # bytes of the buffer's server, 0: plenty
    slow: float
    faults: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.runs} runs, {self.members} members, slices of {self.slices}, " + ", ".join(
            word
            for word, on in (
                ("cooperative" if self.cooperative else "eager", True),
                ("traces first", self.traces_first),
                ("lossy", self.lossy),
                (f"memory {self.memory}", self.memory > 0),
            )
            if on
        )
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


# kind -> (weight, longest time in seconds)
KINDS = {
    "kill": (4, 0.0),
    "kill at call": (5, 0.0),
    "sleep": (4, 8.0),
    "rebalance": (4, 0.0),
    "member leaves": (1, 3.0),
    "member joins": (1, 0.0),
    "buffer crashes": (4, 2.0),
    "buffer away": (2, 3.0),
    "buffer full": (1, 2.0),
    "buffer loses calls": (2, 3.0),
    "bus away": (2, 3.0),
    "bus loses calls": (2, 3.0),
    "slow partition": (3, 5.0),
    "retention": (2, 0.0),
    "compaction": (1, 0.0),
}
LOSSY = {"buffer flushed": (4, 1.0), "buffer restored": (4, 1.0), "sleep in publish": (4, 8.0)}


def a_plan(seed: int, *, lossy: bool = False) -> Plan:
    """`lossy`: surely one of those in which the buffer is flushed or restored, and more often than else."""
    rng = random.Random(seed)
    small = rng.random() < 0.2  # memory; slices must be small against it, as they are in life
    plan = Plan(
        seed=seed,
        runs=60 if small else rng.choice([6, 15, 25, 40]),
        members=rng.choice([1, 2, 2, 3]),
        slices=rng.choice([1, 2]) if small else rng.choice([1, 3, 8, 50]),
        cooperative=rng.random() < 0.6,
        traces_first=rng.random() < 0.5,
        lossy=rng.random() < 0.2 or lossy,
        memory=40_000 if small else 0,
        slow=rng.choice([0.0, 0.02, 0.06]),
    )
    kinds = KINDS | (LOSSY if plan.lossy else {})
    for _ in range(rng.randrange(1, 14)):
        kind = rng.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        plan.faults.append(a_fault(rng, kind, kinds[kind][1]))
    for _ in range(3 if lossy else 0):
        kind = rng.choice(list(LOSSY))
        plan.faults.append(a_fault(rng, kind, LOSSY[kind][1]))
    if rng.random() < 0.06:
        plan.faults.append(a_fault(rng, "topic made again", 0.0))
    plan.faults.sort(key=lambda fault: fault.at_s)
    return plan


def a_fault(rng: random.Random, kind: str, longest_s: float) -> Fault:
    at_s = FAULTS_S * rng.random() ** 1.5
    return Fault(round(at_s, 4), kind, round(longest_s * rng.random() ** 2, 3), rng.randrange(200))
