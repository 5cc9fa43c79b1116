"""What is usual: what is compiled counts and compares as the Python beside it does, to the last bit."""

import os
import random

import pytest

from l07.domain.doubt import Trail, habits
from l07.domain.doubt.habits import CONTEXT, Counted, Counts

needed = pytest.mark.skipif(
    habits.usual is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
DIGESTS = (0, 1, 2, 2**32, 2**64 - 1)  # few, so that most runs meet; the least, the largest
OUTPUTS = (0, 1, 2**32 - 1)
KINDS = (0, 1, 2, 40_000, 2**16 - 1)  # 0 and 1 also stand for the start and the end of a run


def a_trail(rng: random.Random) -> bytes:
    steps = [
        (rng.choice(DIGESTS), rng.choice(OUTPUTS), rng.choice(KINDS), rng.choice(KINDS))
        for _ in range(rng.choice((0, 1, 2, 5, 64)))
    ]
    return Trail(rng.choice(DIGESTS), tuple(steps)).pack()


@needed
@pytest.mark.parametrize("seed", range(8))
def test_what_is_compiled_finds_the_same_values(seed: int) -> None:
    rng = random.Random(seed)
    runs = [(f"t{rng.randrange(5)}", a_trail(rng), rng.random() < 0.6) for _ in range(rng.choice((1, 8, 60)))]
    fast, slow = habits.usual.Habits(), Counts()
    for task, trail, accepted in runs:
        fast.add(task, trail, accepted=accepted)
        slow.add(task, trail, accepted=accepted)
    taken = [Counted(task, trail) for task, trail, accepted in runs if accepted]
    for task, trail, accepted in runs:
        changed = rng.choice((trail, a_trail(rng)))
        other = Counted(task, trail) if accepted else rng.choice(taken) if taken else None
        for asked in (
            (task, changed, trail, other), (task, changed, trail, None), (task, changed, None, other),
            ("a task of nobody", changed, None, other),
        ):  # fmt: skip
            assert fast.compare(*asked) == slow.compare(*asked), asked
            assert len(fast.compare(*asked)) == len(CONTEXT)


@needed
def test_many_different_runs_are_counted_apart() -> None:
    rng = random.Random(1)
    fast, slow = habits.usual.Habits(), Counts()
    for number in range(3000):
        step = (rng.getrandbits(64), rng.getrandbits(32), rng.getrandbits(16), rng.getrandbits(16))
        trail = Trail(rng.getrandbits(64), (step,)).pack()
        for one in (fast, slow):
            one.add(f"t{number % 700}", trail, accepted=number % 3 > 0)
        if number % 50 == 0:
            asked = (f"t{rng.randrange(700)}", trail, None, None)
            assert fast.compare(*asked) == slow.compare(*asked)


@needed
@pytest.mark.parametrize("trail", [b"", b"1234567"])
def test_what_is_no_trail_is_refused(trail: bytes) -> None:
    with pytest.raises(ValueError, match="trail"):
        habits.usual.Habits().add("t", trail, accepted=True)
