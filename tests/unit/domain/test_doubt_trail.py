import pytest

from l07.domain.doubt import CONSISTENCY, FAULTS, Run, Trail, read
from l07.domain.doubt.habits import CONTEXT, Counted, habits_of
from tests.doubt import a_purchase, called, returned


def value(run: Run, name: str) -> float:
    return read(run.messages, run.goal).values[CONSISTENCY.index(name)]


def with_content(run: Run, place: int, content: object) -> Run:
    return Run([m | {"content": content} if i == place else m for i, m in enumerate(map(dict, run.messages))], run.goal)


def swapped(run: Run) -> Run:
    first, second = run.messages[2]["content"], run.messages[6]["content"]
    return with_content(with_content(run, 2, second), 6, first)


def test_a_call_fits_its_own_output_better_than_another() -> None:
    asked = [called("get", ident, what=name) for ident, name in (("1", "alpha"), ("2", "beta"))]
    given = [returned("get", ident, f"{name} is there") for ident, name in (("1", "alpha"), ("2", "beta"))]
    run = Run((asked[0], given[0], asked[1], given[1]), "look")
    other = with_content(with_content(run, 1, given[1]["content"]), 3, given[0]["content"])
    assert value(run, "fit_own") == 0.5  # of two words, what and alpha
    assert value(other, "fit_own") == -0.5


def test_what_is_called_next_comes_from_what_came_back() -> None:
    run = a_purchase(1)
    assert value(run, "next_use") == 0.5  # the order's number, not the amount's name
    assert value(with_content(run, 2, "nobody"), "next_use") == 0.25


def test_an_answer_of_which_no_output_knows_stands_alone() -> None:
    run = a_purchase(1)
    assert value(run, "answer_known") > 0.2
    assert value(with_content(run, 7, "Lovely weather today"), "answer_known") == 0


def test_a_repeated_call_with_another_output_is_a_conflict() -> None:
    twice = (*a_purchase(1).messages[:3], *a_purchase(1).messages[1:3])
    run = Run(twice, "g")
    assert value(run, "repeat_conflict") == 0
    assert value(with_content(run, 4, "something else"), "repeat_conflict") == 1


def test_outputs_find_their_calls_by_id() -> None:
    calls = called("a", "1", x="alpha")
    calls["tool_calls"] += called("b", "2", x="beta")["tool_calls"]
    in_order = [calls, returned("a", "1", "alpha"), returned("b", "2", "beta")]
    assert read(in_order, "g").trail == read([in_order[0], in_order[2], in_order[1]], "g").trail


@pytest.mark.parametrize(
    "content", [None, "", "\x00\x01\ufffd", "שלום עולם", [{"type": "text", "text": "part"}], "x" * 1_000_000, "\ud800"]
)
def test_whatever_an_output_is_it_is_read(content: object) -> None:
    reading = read(with_content(a_purchase(1), 2, content).messages, a_purchase(1).goal)
    assert len(reading.values) == len(CONSISTENCY)
    assert Trail.unpack(reading.trail).pack() == reading.trail


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": "hi"}], [called("a", "1")]])
def test_a_run_of_next_to_nothing_is_read(messages: list[dict[str, object]]) -> None:
    reading = read(messages, "")
    assert all(-1 <= number <= 4 for number in reading.values)
    assert Trail.unpack(reading.trail).pack() == reading.trail


# ------------------------------------------------------------------ against the others


def test_a_run_is_compared_with_the_others_alone() -> None:
    runs = [("t", read(a_purchase(1, seed=seed).messages, "").trail, True) for seed in range(4)]
    for task, trail, _ in runs:
        with_it = habits_of(runs).compare(task, trail, trail, Counted(task, trail))
        without = habits_of(run for run in runs if run[1] is not trail).compare(task, trail, None, None)
        assert with_it == pytest.approx(without, abs=0.05)  # the number of kinds may differ by the run's own
        assert with_it[4:] == without[4:]


def test_a_label_does_not_show_in_what_a_run_is_compared_with() -> None:
    trails = [read(a_purchase(1).messages, "").trail] * 4
    habits = habits_of(("t", trail, number < 3) for number, trail in enumerate(trails))
    accepted, rejected = (habits.compare("t", trail, trail, Counted("t", trails[0])) for trail in trails[2:])
    assert accepted == rejected
    assert accepted[CONTEXT.index("agreement")] == 1


def test_an_output_that_other_attempts_did_not_get_disagrees() -> None:
    run = a_purchase(1)
    habits = habits_of(("t", read(run.messages, "").trail, True) for _ in range(5))
    strange = read(with_content(run, 4, "nothing of the kind").messages, "").trail
    at = CONTEXT.index("agreement_least")
    assert habits.compare("t", read(run.messages, "").trail, None, None)[at] == 1
    assert habits.compare("t", strange, None, None)[at] == 0


def test_steps_in_another_order_are_less_likely() -> None:
    habits = habits_of((f"t{n}", read(a_purchase(n).messages, "").trail, True) for n in range(20))
    run = a_purchase(99)
    moved = (*run.messages[:1], *run.messages[5:7], *run.messages[3:5], *run.messages[1:3], *run.messages[7:])
    at = CONTEXT.index("order_likelihood")
    usual, strange = (habits.compare("t99", read(m, "").trail, None, None)[at] for m in (run.messages, moved))
    assert usual > strange + 1


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_changes_a_copy_and_leaves_the_run(name: str) -> None:
    import copy
    import random

    run, other = a_purchase(1), a_purchase(2)
    before = copy.deepcopy(run)
    for seed in range(20):
        faulty = FAULTS[name](run, other, random.Random(seed))
        assert faulty is None or list(faulty.messages) != list(run.messages)
        assert faulty == FAULTS[name](run, other, random.Random(seed))
    assert run == before
    assert any(FAULTS[name](run, other, random.Random(seed)) for seed in range(20))


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"foreign_goal"}))
def test_nothing_can_happen_to_a_run_of_nothing(name: str) -> None:
    import random

    nothing = Run(({"role": "user", "content": "hi"},), "hi")
    assert FAULTS[name](nothing, a_purchase(2), random.Random(1)) is None
