"""The generated world: what it promises to the demo and to the tests that train on it."""

import json
from collections import Counter
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l07.domain import world
from l07.domain.duplicates import Sketcher, action_text
from l07.domain.world.neighbours import TOOLS

NUMBERS = st.integers(0, world.TASKS - 1)
SOME = st.sampled_from(world.DOMAINS)


def calls_of(run: world.Run) -> list[tuple[str, dict[str, str]]]:
    return [
        (m["tool_calls"][0]["function"]["name"], m["tool_calls"][0]["function"]["arguments"])
        for m in run.messages
        if m.get("tool_calls")
    ]


def a_stream(**noise: float) -> world.Stream:
    return world.stream(world.demo_runs(60, 7), seed=7, noise=world.Noise(**noise))  # type: ignore[arg-type]  # shuffle is an int


@given(SOME, NUMBERS, st.integers(0, 50))
def test_a_task_and_its_runs_are_functions_of_their_numbers(domain: str, number: int, seed: int) -> None:
    one = world.task(domain, number, seed)
    assert one == world.task(domain, number, seed)
    assert world.run(one, "bad", seed) == world.run(one, "bad", seed)


def test_there_are_three_domains_and_each_gives_four_hundred_tasks_of_their_own() -> None:
    assert len(world.DOMAINS) >= 3
    for domain in world.DOMAINS:
        tasks = [world.task(domain, number, 7) for number in range(world.TASKS)]
        assert len({next(iter(task.record.values())) for task in tasks}) == world.TASKS
        assert len({task.goal for task in tasks[:400]}) == 400


@pytest.mark.parametrize(("domain", "number"), [("nowhere", 1), ("retail", -1), ("retail", world.TASKS)])
def test_a_task_that_does_not_exist_is_refused(domain: str, number: int) -> None:
    with pytest.raises(ValueError, match="there is no task"):
        world.task(domain, number, 7)


@given(SOME, NUMBERS)
def test_a_run_that_succeeds_looks_up_first_and_then_does_what_the_policy_asks(domain: str, number: int) -> None:
    task = world.task(domain, number, 7)
    for agent in world.AGENTS:
        run = world.run(task, agent, 7)
        expected = [calls_of(run)[0], *([task.expected] if task.expected else [])]
        looked_up = calls_of(run)[0][0] == run.tools[0]["function"]["name"]
        assert run.success == (looked_up and calls_of(run) == expected and task.record["status"] in str(run.messages))


def test_the_good_agent_keeps_the_policy_and_the_bad_one_breaks_it() -> None:
    outcomes = Counter((run.agent, run.success) for run in world.demo_runs(300, 7))
    assert outcomes["good", True] / (outcomes["good", True] + outcomes["good", False]) > 0.93
    assert outcomes["bad", True] / (outcomes["bad", True] + outcomes["bad", False]) < 0.35


@given(SOME, NUMBERS, st.sampled_from(sorted(world.AGENTS)))
def test_every_call_fits_the_schema_of_a_tool_of_its_domain(domain: str, number: int, agent: str) -> None:
    run = world.run(world.task(domain, number, 7), agent, 7)  # type: ignore[arg-type]  # hypothesis draws plain text
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in run.tools}
    for name, arguments in calls_of(run):
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"]) == set(arguments)
        assert all(isinstance(value, str) for value in arguments.values())


def test_neighbours_share_no_tool_with_the_target_domains() -> None:
    targets = {tool["function"]["name"] for domain in world.DOMAINS for tool in world.tool_schemas(domain)}
    assert targets.isdisjoint(name for tools in TOOLS.values() for name, _, _ in tools)
    assert world.documents(50, 3) == world.documents(80, 3)[:50]


def test_stream_golden_set_and_practice_never_meet_the_same_task() -> None:
    streamed = {run.messages[0]["content"] for run in world.demo_runs(500, 7)}
    golden = {row["messages"][0]["content"] for row in world.golden(100, 7)}
    practised = {row["messages"][0]["content"] for row in world.mixed_runs(600, seed=7)}
    assert streamed.isdisjoint(golden)
    assert streamed.isdisjoint(practised)
    assert golden.isdisjoint(practised)


def test_the_golden_set_holds_only_runs_that_keep_the_policy() -> None:
    for row in world.golden(50, 7):
        task = world.task(row["domain"], int(row["group"].rpartition("-")[2]), 7)
        calls = [m["tool_calls"][0]["function"]["name"] for m in row["messages"] if m.get("tool_calls")]
        assert calls[1:] == ([task.expected[0]] if task.expected else [])


@pytest.mark.slow
def test_different_tasks_are_never_near_duplicates() -> None:
    """At 0.7 they would share a group; 300 groups a domain would be out of reach."""
    sketcher = Sketcher()
    for domain in world.DOMAINS:
        runs = [world.run(world.task(domain, number, 7), "good", 7) for number in range(300)]
        seen = [set(sketcher.shingles(action_text(run.task.goal, run.messages)).tolist()) for run in runs]
        closest = max(len(a & b) / len(a | b) for at, a in enumerate(seen) for b in seen[:at])
        assert closest < 0.6


def test_the_stream_holds_what_its_counts_say() -> None:
    stream = a_stream(broken=0.05, unscored=0.1, doubled=0.05)
    counts = stream.counts
    assert len(stream.lines) == counts["traces"] + counts["scores"] + counts["doubled"] + counts["broken"]
    assert counts["runs"] == counts["traces"] == counts["scores"] + counts["unscored"]
    assert min(counts.values()) > 0
    assert stream == a_stream(broken=0.05, unscored=0.1, doubled=0.05)


def test_without_noise_every_line_is_an_event_and_none_comes_twice() -> None:
    stream = a_stream(shuffle=0, doubled=0, late=0, broken=0, unscored=0)
    events = [json.loads(line) for line in stream.lines]
    assert len({event["id"] for event in events}) == len(events) == 2 * stream.counts["runs"]
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    dialects = {name for event in events for name in ("messages", "trace", "task_definition") if name in event["data"]}
    assert dialects == {"messages", "trace", "task_definition"}


def test_events_come_out_of_order_and_late_scores_come_last() -> None:
    events = [json.loads(line) for line in a_stream(broken=0, late=0.1, doubled=0).lines]
    times = [event["time"] for event in events]
    assert times != sorted(times)
    assert events[-1]["type"] == "evaluation.completed"


def test_the_evaluator_sees_most_outcomes_right_but_not_by_the_same_number() -> None:
    events = [json.loads(line) for line in a_stream(shuffle=0, doubled=0, broken=0, unscored=0, late=0).lines]
    outcome = {
        event["data"]["execution_id"]: event["data"]["outcome"] for event in events if "outcome" in event["data"]
    }
    scores = [event["data"] for event in events if "quality_score" in event["data"]]
    right = sum((score["quality_score"] >= 70) == (outcome[score["execution_id"]] == "success") for score in scores)
    assert right / len(scores) > 0.97
    assert len({score["quality_score"] for score in scores}) > len(scores) / 2
