"""Short memory: what waits, what never does, and how it ends."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l07.events.record import TopicPartition
from l07.pipeline.pressure import Level, PressureRules, Progress, ahead, decide, pressure_rules
from l07.ports import Memory
from l07.settings import load_settings

TRACES = [TopicPartition("execution.traces", n) for n in range(3)]
SCORES = [TopicPartition("evaluation.quality_scores", n) for n in range(3)]
PLANS = TopicPartition("planning.traces", 0)
RULES = pressure_rules(load_settings({}).settings)
LEVELS: tuple[Level, ...] = ("open", "paused", "stopped")


def standing(traces: list[int], scores: list[int]) -> dict[TopicPartition, Progress]:
    """Everybody still reads; at these record times."""
    pairs = [*zip(TRACES, traces, strict=False), *zip(SCORES, scores, strict=False)]
    return {tp: Progress(time, True) for tp, time in pairs}


@pytest.mark.parametrize("before", LEVELS)
@pytest.mark.parametrize(
    ("share", "after_open", "after_other"),
    [
        (0.10, "open", "open"),
        (0.74, "open", "open"),
        (0.75, "open", "paused"),
        (0.79, "open", "paused"),
        (0.80, "paused", "paused"),
        (0.94, "paused", "paused"),
        (0.95, "stopped", "stopped"),
        (1.10, "stopped", "stopped"),
    ],
)
def test_the_level_follows_the_share_of_the_memory_and_does_not_flicker(
    share: float, after_open: Level, after_other: Level, before: Level
) -> None:
    found = decide(Memory(round(share * 1000), 1000), {}, rules=RULES, before=before)
    assert found.level == (after_open if before == "open" else after_other)
    assert found.share == pytest.approx(share)


def test_without_a_known_limit_nothing_waits_unless_the_server_refuses() -> None:
    where = standing([9], [1])
    assert decide(Memory(10**12, 0), where, rules=RULES, before="paused").level == "open"
    full = decide(Memory(10**12, 0), where, rules=RULES, before="open", full=True)
    assert (full.level, full.hold) == ("stopped", frozenset(where))
    assert decide(Memory(10**12, 0), where, rules=RULES, before="stopped").level == "open"


def test_a_limit_of_our_own_counts_where_the_server_has_none() -> None:
    rules = pressure_rules(load_settings({"L07_BACKPRESSURE__LIMIT_BYTES": "1000"}).settings)
    assert decide(Memory(900, 0), {}, rules=rules, before="open").level == "paused"
    assert decide(Memory(900, 2000), {}, rules=rules, before="open").level == "open"


def test_traces_that_ran_ahead_wait_and_every_score_goes_on() -> None:
    where = standing([50, 60, 70], [1, 5, 9])
    assert ahead(where, rules=RULES) == frozenset(TRACES)


def test_scores_that_ran_ahead_wait_too() -> None:
    assert ahead(standing([1, 5, 9], [50, 60, 70]), rules=RULES) == frozenset(SCORES)


def test_one_trace_partition_that_lags_goes_on_until_the_scores_are_behind_it() -> None:
    where = standing([1, 60, 70], [50, 50, 50])
    assert ahead(where, rules=RULES) == frozenset([*TRACES[1:], *SCORES])
    where[TRACES[0]] = Progress(51, True)
    assert ahead(where, rules=RULES) == frozenset(TRACES)


def test_one_that_is_read_to_its_end_holds_nobody() -> None:
    where = standing([50, 60, 70], [40, 55, 1])
    where[SCORES[2]] = Progress(1, False)
    assert ahead(where, rules=RULES) == frozenset([*TRACES, SCORES[1]])
    for tp in SCORES:
        where[tp] = where[tp]._replace(waiting=False)
    assert not ahead(where, rules=RULES) & set(TRACES), "there are no scores to wait for"


def test_one_that_nobody_moves_holds_nobody() -> None:
    where = standing([50, 60, 70], [1, 55, 90])
    where[SCORES[0]] = Progress(1, True, stuck=True)
    assert ahead(where, rules=RULES) == frozenset([TRACES[1], TRACES[2], SCORES[1], SCORES[2]])


def test_plans_count_as_traces() -> None:
    where = standing([50], [10]) | {PLANS: Progress(5, True)}
    assert ahead(where, rules=RULES) == frozenset([TRACES[0], SCORES[0]])


def test_a_topic_of_our_own_that_brings_both_sides_is_no_special_case() -> None:
    topic = "everything"
    rules = PressureRules(traces=frozenset({topic}), scores=frozenset({topic}))
    where = {TopicPartition(topic, n): Progress(n, True) for n in range(3)}
    assert ahead(where, rules=rules) == frozenset(TopicPartition(topic, n) for n in (1, 2))


def every_standing() -> Iterator[dict[TopicPartition, Progress]]:
    states = [Progress(time, waiting, stuck) for time in (0, 5, 9) for waiting, stuck in ((1, 0), (1, 1), (0, 0))]
    tps = [TRACES[0], TRACES[1], SCORES[0], SCORES[1]]
    for chosen in itertools.product(states, repeat=4):
        yield dict(zip(tps, chosen, strict=True))


def test_in_every_standing_of_four_partitions_somebody_who_can_move_goes_on() -> None:
    for where in every_standing():
        movers = {tp for tp, at in where.items() if at.waiting and not at.stuck}
        assert not movers or movers - ahead(where, rules=RULES), where


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*TRACES, *SCORES, PLANS]),
        st.builds(Progress, st.integers(0, 20), st.booleans(), st.booleans()),
    )
)
def test_the_one_that_is_behind_all_never_waits(where: dict[TopicPartition, Progress]) -> None:
    movers = {tp: at.time_ms for tp, at in where.items() if at.waiting and not at.stuck}
    hold = ahead(where, rules=RULES)
    if movers:
        assert min(movers, key=lambda tp: movers[tp]) not in hold


def test_reading_on_by_the_decision_always_ends_and_never_lets_a_side_run_away() -> None:
    """The whole of it as a play: what is not held moves one step; everything is read in the end."""
    traces, scores = [0, 0, 0], [0, 0, 0]
    ends, steps, spread = 40, 0, 0
    while min(*traces, *scores) < ends:
        where = {
            tp: Progress(at, at < ends)
            for side, ats in ((TRACES, traces), (SCORES, scores))
            for tp, at in zip(side, ats, strict=True)
        }
        hold = ahead(where, rules=RULES)
        steps += 1
        assert steps < 1000, "it hangs"
        for side, ats, pace in ((TRACES, traces, 5), (SCORES, scores, 1)):
            for n, tp in enumerate(side):
                if tp not in hold:
                    ats[n] = min(ends, ats[n] + pace)
        spread = max(spread, max(traces) - min(scores))
    assert spread <= 10, "traces, five times as fast, were kept near the scores"
