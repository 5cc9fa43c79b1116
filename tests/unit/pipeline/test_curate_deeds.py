"""Tasks whose accepted runs did exactly the same share a split, whatever words they were asked in."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l07.domain.deeds import MOST_TASKS, Shared, deeds_of, shared
from l07.domain.quality import CurateRules
from l07.domain.world import demo_runs
from l07.pipeline.curate import placing
from l07.pipeline.curate.build import Draft, Golden, build
from l07.pipeline.curate.roll import Parent
from l07.pipeline.curate.twins import Body
from l07.ports import SealedBatch, SealedRow
from tests.curation import Shelf, a_batch, a_conversation, a_revision, a_row, a_task_each, deeds_across, did

RULES = CurateRules(doubt=False)  # sixty rows are a source: some would wait in review


def built(*batches: SealedBatch, parent: Parent | None = None, **more: Any) -> Draft:
    draft = build(batches, RULES, parent=parent, **more)
    assert isinstance(draft, Draft), draft
    return draft


def asked(ident: str, goal: str, *deeds: str, **more: Any) -> SealedRow:
    return a_row(ident, messages=a_conversation(goal, *deeds, answer=f"said of {goal}"), **more)


def pairs(count: int) -> list[SealedRow]:
    """Each question asked twice, in words that have nothing in common, as two tasks; both runs did the same."""
    return [
        asked(f"{way}{n:02}", f"{way} {goal} number {n}", f"select the {n}th column of the table")
        for n in range(count)
        for way, goal in (("a", "how many of them are there at all in the club"), ("b", "tell me what their count is"))
    ]


def linked(draft: Draft, one: str, other: str) -> bool:
    return draft.members[f"execution:{one}"].group == draft.members[f"execution:{other}"].group


def texts(draft: Draft) -> Mapping[str, Body]:
    return {key: Body(example.goal, example.messages) for key, example in draft.examples.items()}


# ------------------------------------------------------------------ one version


def test_a_question_in_other_words_is_in_the_split_of_the_first() -> None:
    draft = built(a_batch(pairs(30)))
    assert deeds_across(draft.members.values(), texts(draft)) == []
    assert all(linked(draft, f"a{n:02}", f"b{n:02}") for n in range(30))
    assert len({member.group for member in draft.members.values()}) == 30


def test_control_without_the_links_the_answers_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    original = placing.shared
    monkeypatch.setattr(placing, "shared", lambda rows: replace(original(rows), links=()))
    draft = built(a_batch(pairs(30)))
    assert deeds_across(draft.members.values(), texts(draft))


def test_the_same_deeds_in_another_order_are_others() -> None:
    rows = [
        asked("x", "one wish of mine", "select all of it", "then count it"),
        asked("y", "another need", "then count it", "select all of it"),
    ]
    assert not linked(built(a_batch([*a_task_each(20), *rows])), "x", "y")


def test_a_rejected_run_links_nothing_until_it_is_accepted() -> None:
    rows = [
        *a_task_each(20),
        *pairs(1)[:1],
        asked("b00", "in words unlike those", *["select the 0th column of the table"], score=20.0),
    ]
    first = built(a_batch(rows))
    assert not linked(first, "a00", "b00")
    second = built(a_batch([a_revision("b00", score=95.0)], number=2), parent=Shelf().parent(first))
    assert linked(second, "a00", "b00")


def test_deeds_of_many_tasks_are_generic_link_nothing_and_are_counted() -> None:
    def some(count: int) -> Draft:
        rows = [asked(f"g{n}", f"wish {n} " * 12, "look up the opening hours") for n in range(count)]
        return built(a_batch([*a_task_each(20), *rows]))

    draft = some(MOST_TASKS)
    assert len({draft.members[f"execution:g{n}"].group for n in range(MOST_TASKS)}) == 1
    assert "generic_deeds" not in draft.counts
    draft = some(MOST_TASKS + 1)
    assert len({draft.members[f"execution:g{n}"].group for n in range(MOST_TASKS + 1)}) == MOST_TASKS + 1
    assert draft.counts["generic_deeds"] == 1


def test_runs_without_calls_and_with_trivial_calls_link_nothing() -> None:
    quiet = [asked(f"q{n}", f"wish {n} " * 12) for n in range(3)]
    short = [asked(f"s{n}", f"need {n} " * 12, "sweep") for n in range(3)]
    draft = built(a_batch([*a_task_each(20), *quiet, *short]))
    assert len({draft.members[f"execution:{k}{n}"].group for k in "qs" for n in range(3)}) == 6
    assert "generic_deeds" not in draft.counts


def test_a_run_that_did_what_a_golden_row_did_leaves_train() -> None:
    rows = a_task_each(30)
    plain = built(a_batch(rows))
    train = [m.key for m in plain.members.values() if m.table == "train"][:3]
    golden = [Golden(f"g-{key}", f"home/g-{key}", Body("unlike", plain.examples[key].messages[1:2])) for key in train]
    draft = built(a_batch(rows), golden=golden)
    assert [draft.members[key].reasons[-1] for key in train] == ["golden_twin"] * 3
    assert draft.counts["golden_twins"] == 3


# ------------------------------------------------------------------ over versions


def test_a_paraphrase_that_comes_later_gets_the_split_of_the_first_from_what_is_stored() -> None:
    first = built(a_batch(pairs(30)[::2]))
    parent = replace(Shelf().parent(first), bodies=lambda keys: {})  # no text is at hand: the digest has to do
    second = built(a_batch(pairs(30)[1::2], number=2), parent=parent)
    for n in range(30):
        assert second.members[f"execution:b{n:02}"].split == first.members[f"execution:a{n:02}"].split
    assert {member.split for member in second.members.values()} == {"train", "validation", "test"}


def test_a_run_that_ties_train_to_test_takes_the_rows_out_of_train() -> None:
    first = built(a_batch(pairs(20)[::2]))
    train, test = (next(m for m in first.members.values() if m.table == table) for table in ("train", "test"))
    deed = f"select the {int(train.key[-2:])}th column of the table"
    link = asked("link", "quite another wish than all of the others", deed, task_id=test.task.split("/")[1])
    second = built(a_batch([link], number=2), parent=Shelf().parent(first))
    assert second.members["execution:link"].table == second.members[test.key].table == "test"
    assert second.members[train.key].table == ""
    assert second.members[train.key].reasons[-1] == "split_conflict"


def test_groups_that_deeds_have_joined_stay_joined_when_the_deeds_become_generic() -> None:
    rows = [asked(f"g{n}", f"wish {n} " * 12, "look up the opening hours") for n in range(MOST_TASKS + 3)]
    first = built(a_batch([*a_task_each(20), *rows[:2]]))
    second = built(a_batch(rows[2:], number=2), parent=Shelf().parent(first))
    assert linked(second, "g0", "g1")
    assert not linked(second, "g0", "g2")
    assert second.counts["generic_deeds"] == 1


# ------------------------------------------------------------------ the digest


def calls(*made: tuple[str, Any], role: str = "assistant") -> list[dict[str, Any]]:
    return [
        {
            "role": role,
            "content": f"step {n}",
            "tool_calls": [{"id": f"c{n}{role}", "function": {"name": name, "arguments": arguments}}],
        }
        for n, (name, arguments) in enumerate(made)
    ]


QUERY = {"query": "select name from singers", "limit": 10}


@pytest.mark.parametrize(
    "same",
    [
        calls(("sql", {"limit": 10, "query": "select name from singers"})),
        calls(("sql", {**QUERY, "limit": 10.0})),
        calls(("sql", '{"limit": 10, "query": "select name from singers"}')),
        [{"role": "user", "content": "another goal"}, *calls(("sql", QUERY)), {"role": "tool", "content": "another answer"}],
        [{**calls(("sql", QUERY))[0], "content": "other words"}],
        [*calls(("sql", {"not": "the assistant's own call"}), role="user"), *calls(("sql", QUERY))],
    ],
)  # fmt: skip
def test_order_of_names_number_spelling_words_and_ids_do_not_show(same: Sequence[Mapping[str, Any]]) -> None:
    assert deeds_of(same) == deeds_of(calls(("sql", QUERY))) != ""


@pytest.mark.parametrize(
    "other",
    [
        calls(("sql", {**QUERY, "limit": 11})),
        calls(("sql", {**QUERY, "limit": "10"})),
        calls(("sql", {**QUERY, "limit": True})),
        calls(("SQL", QUERY)),
        calls(("sql", QUERY), ("sql", QUERY)),
        calls(("sql", {"query": "select name  from singers", "limit": 10})),
    ],
)
def test_another_name_another_value_or_one_call_more_is_another_deed(other: Sequence[Mapping[str, Any]]) -> None:
    assert "" != deeds_of(other) != deeds_of(calls(("sql", QUERY)))


@pytest.mark.parametrize("made", [(), (("balance", {}),), (("recent", {"n": 100}), ("user", {}), ("balance", {}))])
def test_nothing_and_next_to_nothing_have_no_digest(made: Sequence[tuple[str, Any]]) -> None:
    assert deeds_of(calls(*made)) == ""


def test_the_digest_is_the_same_in_every_release() -> None:
    """It is stored with every version: another digest would part what belongs together."""
    assert deeds_of(calls(("sql", QUERY))) == "16f37fe4c2813a7637f6e464eb4903096350f9fede10e2e8b937622aa8bdd3f4"


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 12)), max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_show_in_what_is_shared(rows: list[tuple[str, int]], rng: random.Random) -> None:
    named = [(deeds, f"t{task}") for deeds, task in rows]
    assert shared(rng.sample(named, len(named))) == shared(named) == shared([*named, *named])


@pytest.mark.slow
def test_no_two_tasks_of_the_demo_world_are_tied_together() -> None:
    runs = [(deeds_of(run.messages), f"{run.task.domain}/{run.task.task_id}") for run in demo_runs(420, 7)]
    assert shared(runs) == Shared((), frozenset())
    assert all(deeds for deeds, _ in runs)


def test_the_oracle_reads_what_the_product_reads() -> None:
    draft = built(a_batch(pairs(12)))
    by_digest: dict[str, set[str]] = {}
    by_oracle: dict[str, set[str]] = {}
    for key, body in texts(draft).items():
        by_digest.setdefault(draft.members[key].deeds, set()).add(key)
        by_oracle.setdefault(did(body), set()).add(key)
    assert sorted(map(sorted, by_digest.values())) == sorted(map(sorted, by_oracle.values()))
