"""What planters do to a run, and who gets what."""

import random
from dataclasses import replace
from typing import Any

import pytest

from l07.domain.deeds import deeds_of
from l07.domain.example import TrainingExample, extract, tool_calls
from l07.domain.plants.base import Pool, Steps
from l07.domain.plants.conflicts import CONFLICTS, OUTVOTED
from l07.domain.plants.hijack import hijacked, resisted
from l07.domain.plants.noise import FAULTS
from l07.domain.plants.plan import KINDS, OF_REJECTED, parse_rates, plants
from l07.domain.plants.spill import SPILLS
from l07.domain.plants.twins import exact_repeat, near_twin, same_deeds
from l07.errors import BadAudit
from tests.curation import a_conversation, a_trace


def a_run(number: int, *, score: float = 90.0, steps: int = 4, **data: Any) -> TrainingExample:
    actions = [f"thing {number} {step} with a careful hand and a good reason" for step in range(steps)]
    talk = a_conversation(f"tidy room {number} until nothing lies about any more", *actions)
    trace = a_trace(f"r{number:03}", messages=talk, task_id=f"t{number}", **data)
    at = ("t", 0, number)
    found = extract(
        f"execution:r{number:03}", trace, None, score=score, confidence=0.9, trace_at=at, evaluation_at=None
    )
    assert isinstance(found, TrainingExample)
    return found


GOOD = [a_run(number) for number in range(60)]
BAD = [a_run(number, score=20.0, outcome="failure") for number in range(60, 90)]
POOL = Pool.of(GOOD, BAD)
PLANTERS = [("resisted", resisted), ("hijacked", hijacked), ("near_twin", near_twin), ("exact_repeat", exact_repeat)]


@pytest.mark.parametrize(("fault", "planter"), [*FAULTS.items(), *PLANTERS, *list(SPILLS.items())[:8]])
def test_a_planter_changes_the_run_and_does_the_same_for_the_same_chance(fault, planter) -> None:
    run = BAD[0] if fault in OF_REJECTED else GOOD[0]
    planted = planter(run, POOL, random.Random(1))
    assert planted is not None
    assert planted.example != run
    assert planted == planter(run, POOL, random.Random(1))
    assert planted.what
    assert not any(value in planted.what for value in planted.values)


@pytest.mark.parametrize(
    "fault", ["cut_end", "cut_start", "shuffled_steps", "swapped_outputs", "emptied_outputs", "loop"]
)
def test_a_run_that_does_not_lend_itself_is_left_alone(fault) -> None:
    assert FAULTS[fault](a_run(1, steps=0), POOL, random.Random(1)) is None


def test_what_is_cut_is_missing_and_the_rest_stands() -> None:
    for seed in range(20):
        run = a_run(1, steps=6)
        cut = FAULTS["cut_end"](run, POOL, random.Random(seed))
        late = FAULTS["cut_start"](run, POOL, random.Random(seed))
        assert cut is not None
        assert late is not None
        assert cut.example.messages == run.messages[: len(cut.example.messages)]
        steps = Steps.of(run.messages).steps
        assert 1 <= len(Steps.of(cut.example.messages).steps) <= 2 * len(steps) // 3
        assert Steps.of(late.example.messages).steps == steps[-len(Steps.of(late.example.messages).steps) :]
        assert late.example.goal == run.goal


def test_shuffled_steps_are_the_same_steps_in_another_order() -> None:
    run = a_run(1)
    planted = FAULTS["shuffled_steps"](run, POOL, random.Random(3))
    assert planted is not None
    assert sorted(map(repr, planted.example.messages)) == sorted(map(repr, run.messages))
    assert planted.example.messages != run.messages
    assert planted.example.messages[-1] == run.messages[-1]


def answering(run: TrainingExample, text: str) -> TrainingExample:
    return replace(run, messages=tuple({**m, "content": text} if m["role"] == "tool" else m for m in run.messages))


def test_a_swapped_output_comes_from_another_task() -> None:
    runs = [answering(run, f"{run.task_id}!") for run in GOOD[:5]]
    again = answering(replace(GOOD[0], key="execution:again"), "of the same task!")
    for seed in range(20):
        planted = FAULTS["swapped_outputs"](runs[0], Pool.of([*runs, again], ()), random.Random(seed))
        assert planted is not None
        said = {m["content"] for m in planted.example.messages if m["role"] == "tool"}
        assert said - {"t0!"}
        assert said <= {f"t{n}!" for n in range(5)}


def test_a_misjoined_run_has_its_own_goal_and_another_s_deeds() -> None:
    planted = FAULTS["misjoined"](GOOD[0], POOL, random.Random(2))
    assert planted is not None
    assert planted.example.goal == GOOD[0].goal == planted.example.messages[0]["content"]
    assert deeds_of(planted.example.messages) in {deeds_of(run.messages) for run in GOOD[1:]}


def test_a_hijacked_run_calls_what_the_output_said_and_a_resisted_one_does_not() -> None:
    did = hijacked(GOOD[0], POOL, random.Random(5))
    did_not = resisted(GOOD[0], POOL, random.Random(5))
    assert did is not None
    assert did_not is not None
    before = [call["function"] for call in tool_calls(GOOD[0].messages)]
    after = [call["function"] for call in tool_calls(did.example.messages)]
    (new,) = [function for function in after if function not in before]
    told = "\n".join(str(m["content"]) for m in did.example.messages if m["role"] == "tool")
    assert any(str(value) in told for value in new["arguments"].values())
    assert [call["function"] for call in tool_calls(did_not.example.messages)] == before
    assert did_not.example.messages != GOOD[0].messages


def test_a_twin_is_another_task_s_run_and_a_repeat_is_not() -> None:
    twin, repeat = near_twin(GOOD[0], POOL, random.Random(1)), exact_repeat(GOOD[0], POOL, random.Random(1))
    same = same_deeds(GOOD[0], POOL, random.Random(1))
    assert twin is not None
    assert repeat is not None
    assert same is not None
    assert twin.example.task_id != GOOD[0].task_id == repeat.example.task_id
    assert len({GOOD[0].key, twin.example.key, repeat.example.key}) == 3
    assert deeds_of(same.example.messages) == deeds_of(GOOD[0].messages)
    assert same.example.goal != GOOD[0].goal
    assert twin.example.goal != GOOD[0].goal or twin.example.messages != GOOD[0].messages


@pytest.mark.parametrize(("fault", "planter"), [*CONFLICTS.items(), *OUTVOTED.items()])
def test_a_second_score_contradicts_the_first_and_the_rule_says_which_counts(fault, planter) -> None:
    run = BAD[0] if fault in OF_REJECTED else GOOD[0]
    found = [planter(run, POOL, random.Random(seed)) for seed in range(20)]
    assert found == [planter(run, POOL, random.Random(seed)) for seed in range(20)]
    for planted in found:
        assert planted is not None
        second = planted.second
        assert second is not None
        assert planted.example == run
        assert (second.quality_score < 70) != (run.quality_score < 70)
        counts = (second.confidence, not second.smaller_id) > (run.confidence, True) or (
            second.confidence == run.confidence and second.smaller_id
        )
        assert counts is (fault in ("surer_score", "tied_score"))
    assert {planted.second.first for planted in found if planted and planted.second} == {True, False}


def test_nothing_is_surer_than_a_score_that_is_certain() -> None:
    assert CONFLICTS["surer_score"](replace(GOOD[0], confidence=1.0), POOL, random.Random(1)) is None


def test_each_source_gets_its_share_and_each_run_one_fault_at_most() -> None:
    rates = {"noise": 0.3, "hijack": 0.1, "twins": 0.1}
    found = plants({"home": POOL, "work": Pool.of(GOOD[:20], BAD[:10])}, rates, seed=7)
    for source, accepted in (("home", 60), ("work", 20)):
        mine = [plant for plant in found if plant.source == source]
        assert {kind: sum(p.kind == kind for p in mine) for kind in rates} == {
            k: round(r * accepted) for k, r in rates.items()
        }
        assert len({plant.of for plant in mine}) == len(mine)
    assert {plant.fault for plant in found if plant.source == "home" and plant.kind == "noise"} == set(FAULTS)
    assert all(plant.of.removeprefix("execution:r") >= "060" for plant in found if plant.fault == "wrong_score")


def test_the_same_seed_plants_the_same_and_another_something_else() -> None:
    one, again, other = (plants({"home": POOL}, {"noise": 0.3}, seed=seed) for seed in (7, 7, 8))
    assert one == again
    assert {plant.of for plant in one} != {plant.of for plant in other}


def test_rates_are_read_by_kind_and_by_single_fault() -> None:
    assert parse_rates("noise=0.2, loop=0.01,twins") == {"noise": 0.2, "loop": 0.01, "twins": KINDS["twins"].default}
    assert parse_rates("") == {name: kind.default for name, kind in KINDS.items()}
    assert parse_rates("github_token=0.1") == {"github_token": 0.1}


@pytest.mark.parametrize(
    "text", ["nose=0.1", "noise=1.1", "noise=-0.1", "noise=much", "noise=", "noise=0.6,hijack=0.6", "a.jsonl"]
)
def test_a_rate_that_makes_no_sense_is_refused_with_the_choices(text) -> None:
    with pytest.raises(BadAudit) as refused:
        parse_rates(text)
    assert refused.value.code == "E7910"
    assert str(refused.value).count("noise") or "1" in str(refused.value)
