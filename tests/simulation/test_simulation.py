"""The product's own ingest on a simulated bus, buffer and clock: whatever goes wrong, every example exactly once.

A seed that fails is replayed by `scripts/simulate --from SEED --seeds 1 --trace`."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.__main__ import one
from tests.simulation.controls import CONTROLS
from tests.simulation.plan import KINDS, LOSSY, a_plan

SEEDS = 1000
CHUNKS = 10
ENOUGH = 3000  # seeds in which a control must be noticed; most are in the first ten
RARE = {
    "numbers": [745],
    "barrier": [77],
    "claims": [44],
}  # where to look first: a change of the schedules may move them


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_schedule_ends_with_each_example_exactly_once(chunk: int) -> None:
    size = SEEDS // CHUNKS
    failures = {}
    for seed in range(chunk * size, (chunk + 1) * size):
        if problems := one(seed):
            failures[seed] = problems[0]
    assert failures == {}, "scripts/simulate --from SEED --seeds 1 --trace replays one"


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(CONTROLS))
def test_a_rule_that_is_switched_off_is_noticed(rule: str) -> None:
    seeds = [*RARE.get(rule, []), *range(ENOUGH)]
    seed = next((seed for seed in seeds if one(seed, frozenset({rule}))), None)
    assert seed is not None, f"{ENOUGH} seeds, and nobody noticed: {CONTROLS[rule]}"


def test_a_seed_gives_the_same_schedule_in_every_process() -> None:
    """Whatever the hashes of strings are, and wherever objects lie in memory."""
    digests = {in_a_process(hashseed) for hashseed in ("0", "1", "4242")}
    assert len(digests) == 1
    assert digests == {digest_of_traces()}


def in_a_process(hashseed: str) -> str:
    code = "from tests.simulation.test_simulation import digest_of_traces; print(digest_of_traces())"
    env = {**os.environ, "PYTHONHASHSEED": hashseed}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


def digest_of_traces() -> str:
    digest = hashlib.sha256()
    for seed in (3, 12, 27, 42):
        trace: list[str] = []
        problems = one(seed, frozenset(), trace)
        digest.update("\n".join([*trace, *problems]).encode())
    return digest.hexdigest()


def test_the_schedules_hold_every_fault() -> None:
    plans = [a_plan(seed) for seed in range(SEEDS)]
    seen = Counter(fault.kind for plan in plans for fault in plan.faults)
    assert seen.keys() == KINDS.keys() | LOSSY.keys() | {"topic made again"}
    assert min(seen.values()) >= 20
    assert {plan.members for plan in plans} == {1, 2, 3}
