"""The join of a call gives what the buffer gives, by a reference model that shares no code with either."""

import random
from collections import Counter

import pytest

from l07.ports import Half
from l07.service.joining import Run, gate, join
from tests.contracts.buffer_kit import a_score, a_scored_trace, a_trace
from tests.contracts.buffer_model import Model

FOREVER_MS = 10**15


def random_halves(seed: int, count: int = 60) -> list[Half]:
    """Halves of a few runs, with repeats, conflicts, revisions and traces that carry their own score."""
    rng = random.Random(seed)
    made: list[Half] = []
    for number in range(count):
        key, scores = f"r{rng.randrange(12)}", (rng.choice((40.0, 80.0, 95.0)), rng.choice((0.5, 0.7, 0.9)))
        kind = rng.choice(("trace", "score", "score", "both", "again"))
        if kind == "trace":
            half = a_trace(key, text=rng.choice(("one", "two")), reason=rng.choice(("", "", "no_goal")))
        elif kind == "both":
            half = a_scored_trace(key, *scores)
        elif kind == "again" and made:
            half = rng.choice(made)
        else:
            half = a_score(key, *scores, evaluation=f"e{rng.randrange(3)}")
        made.append(half._replace(offset=number))
    return made


@pytest.mark.parametrize("seed", range(40))
def test_a_call_joins_as_the_buffer_does(seed: int) -> None:
    halves = random_halves(seed)
    model = Model(count=10**9, wait_ms=FOREVER_MS, age_ms=FOREVER_MS, min_count=1)
    for half in halves:
        model.record("t:0", half)
    joined = join(halves)
    rows = model.open["default"].rows if model.open else []
    assert [(run.trace, run.judge) for run in joined.runs] == [(row.trace[1], row.judge()) for row in rows]
    fates = Counter(reason for name, reason in model.fates().values() if name == "duplicate")
    assert joined.duplicates == dict(fates)
    assert joined.waiting == sum(name == "waiting" for name, _ in model.fates().values())
    assert [_reasons(run) for run in joined.runs] == [model.reasons(row) for row in rows]


def _reasons(run: Run) -> tuple[str, ...]:
    assert run.trace is not None
    assert run.judge is not None
    score, confidence = run.judge.score or 0.0, run.judge.confidence or 0.0
    return gate(run.trace.reason, score, confidence, quality_threshold=70, confidence_threshold=0.6)


def test_the_more_confident_score_wins_and_then_the_smaller_evaluation_id() -> None:
    trace = a_trace("r")
    sure, unsure = a_score("r", 40, 0.9, evaluation="b"), a_score("r", 90, 0.8, evaluation="a")
    assert join([trace, unsure, sure]).runs[0].judge == sure
    assert join([sure, unsure, trace]).runs[0].judge == sure
    tie = a_score("r", 70, 0.9, evaluation="a")
    assert join([trace, sure, tie]).runs[0].judge == tie


def test_a_separate_evaluation_wins_where_it_is_preferred() -> None:
    own, separate = a_scored_trace("r", 90, 0.99), a_score("r", 50, 0.1)
    assert join([own, separate]).runs[0].judge == own
    for order in ([own, separate], [separate, own]):
        assert join(order, prefer_separate=True).runs[0].judge == separate


def test_half_a_run_waits_in_vain() -> None:
    joined = join([a_trace("one"), a_score("two")])
    assert (joined.runs, joined.waiting) == ([], 2)
