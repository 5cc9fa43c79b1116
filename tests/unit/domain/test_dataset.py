"""Groups, splits, versions: G7 and what a version is called."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l07.domain.dataset import (
    Change,
    Group,
    Member,
    Number,
    Size,
    Tally,
    assign,
    change,
    digest_of_sorted,
    merge,
    next_number,
    refusal,
    row_digest,
    sizes,
    statistics,
    version_digest,
)
from l07.domain.dataset.groups import SHARES
from l07.errors import TooFewGroups
from l07.pipeline.curate.columns import Columns
from l07.pipeline.curate.work import digest_of, tally


def a_member(key: str = "execution:1", **more: object) -> Member:
    member = Member(
        key=key, task="home/1", source="/s", domain="home", task_type="chores", difficulty=0.5, quality_score=90.0,
        confidence=0.9, decision="ACCEPT", reasons=(), batch_id="default-1", content="c0", exact="e0",
        table="train", group="home/1", split="train",
    )  # fmt: skip
    return member.but(**more)


def tally_of(members: list[Member]) -> Tally:
    columns = Columns.of(members)
    groups = sorted({member.group for member in members})
    return tally(columns, np.array([groups.index(member.group) for member in members], np.int64))


def groups_of(count: int) -> list[Group]:
    return [Group(f"g{n:03}", (f"g{n:03}",)) for n in range(count)]


def even_sizes(groups: list[Group], *, rows: int = 1, strata: int = 1) -> dict[str, Size]:
    return {group.id: Size(rows, f"s{n % strata}", f"k{n:03}") for n, group in enumerate(groups)}


# ------------------------------------------------------------------ groups


def test_near_duplicates_make_one_group_of_two_tasks() -> None:
    assert [g.tasks for g in merge([], ["a", "b", "c"], [("a", "c")])] == [("a", "c"), ("b",)]


@pytest.mark.parametrize(
    ("splits", "winner"),
    [
        (("train", "test"), "test"),
        (("train", "validation"), "validation"),
        (("validation", "test"), "test"),
        (("train", ""), "train"),
        (("train", "validation", "test"), "test"),
    ],
)
def test_of_groups_that_merge_the_strictest_split_wins(splits: tuple[str, ...], winner: str) -> None:
    groups = [Group(f"g{n}", (f"t{n}",), split) for n, split in enumerate(splits)]
    links = [("t0", f"t{n}") for n in range(1, len(splits))]
    merged = merge(groups, [], links)
    assert [(g.split, g.id) for g in merged] == [(winner, f"g{splits.index(winner)}")]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_links_does_not_show_in_the_groups(links: list[tuple[int, int]], rng: random.Random) -> None:
    named = [(f"t{a}", f"t{b}") for a, b in links]
    tasks = [f"t{n}" for n in range(10)]
    once = merge([], tasks, named)
    rng.shuffle(named)
    rng.shuffle(tasks)
    assert sorted(merge([], tasks, named), key=lambda g: g.id) == sorted(once, key=lambda g: g.id)


@given(st.integers(10, 60), st.integers(1, 6), st.integers(0, 50))
def test_ten_groups_or_more_leave_no_split_empty(count: int, strata: int, seed: int) -> None:
    groups = groups_of(count)
    given_ = assign(groups, even_sizes(groups, strata=strata), seed=seed)
    assert {group.split for group in given_} == set(SHARES)


def test_a_giant_group_does_not_fill_the_test_split() -> None:
    groups = groups_of(12)
    size = even_sizes(groups) | {"g000": Size(500, "s0", "k000")}
    assert {g.split for seed in range(20) for g in assign(groups, size, seed=seed) if g.id == "g000"} == {"train"}


@given(st.integers(10, 80), st.integers(1, 6), st.integers(0, 50))
def test_a_split_that_was_given_stays_when_groups_are_added(count: int, strata: int, seed: int) -> None:
    groups = groups_of(count)
    size = even_sizes(groups, strata=strata)
    first = assign(groups[: count // 2], size, seed=seed)
    second = assign([*first, *groups[count // 2 :]], size, seed=seed)
    assert second[: count // 2] == first


def test_a_recomputed_split_moves_groups_so_that_the_test_above_can_fail() -> None:
    groups = groups_of(60)
    size = even_sizes(groups, strata=3)
    first = assign(groups[30:], size, seed=1)  # later keys first; then all from scratch, as a careless curator would
    again = {group.id: group.split for group in assign(groups, size, seed=1)}
    assert [g for g in first if again[g.id] != g.split]


def test_quotas_hold_in_every_stratum_of_enough_groups() -> None:
    groups = groups_of(300)
    size = even_sizes(groups, strata=3)
    counts = Counter((size[g.id].stratum, g.split) for g in assign(groups, size, seed=7))
    assert all(abs(counts[f"s{n}", split] - 100 * share) <= 2 for n in range(3) for split, share in SHARES.items())


def test_a_group_counts_with_all_its_rows_where_most_of_them_are() -> None:
    found = sizes([("g", "easy", "k3"), ("g", "hard", "k2"), ("g", "hard", "k1"), ("h", "easy", "k4")])
    assert found == {"g": Size(3, "hard", "k1"), "h": Size(1, "easy", "k4")}


def test_the_order_of_groups_does_not_show_in_their_splits() -> None:
    groups = groups_of(40)
    size = even_sizes(groups, strata=2)
    shuffled = random.Random(3).sample(groups, 40)
    assert sorted(assign(shuffled, size, seed=5), key=lambda g: g.id) == assign(groups, size, seed=5)


# ------------------------------------------------------------------ versions


def test_nine_groups_are_refused_with_the_count_that_is_needed() -> None:
    rows = [a_member(f"execution:{n}", group=f"g{n}") for n in range(9)]
    refused = refusal(tally_of(rows), changed=True)
    assert refused is not None
    assert (refused.code, refused.reason, refused.needed, refused.have) == ("E7101", "too_few_groups", 10, 9)
    with pytest.raises(TooFewGroups) as raised:
        refused.raise_()
    assert raised.value.context == {"reason": "too_few_groups", "needed": 10, "have": 9}


def test_ten_groups_are_enough() -> None:
    tables = ["test", "validation", *["train"] * 8]
    rows = [a_member(f"execution:{n}", group=f"g{n}", table=table, split=table) for n, table in enumerate(tables)]
    assert refusal(tally_of(rows), changed=True) is None


def test_an_empty_split_is_refused_however_many_groups_there_are() -> None:
    rows = [a_member(f"execution:{n}", group=f"g{n}", table="train" if n else "test") for n in range(20)]
    refused = refusal(tally_of(rows), changed=True)
    assert refused is not None
    assert (refused.reason, refused.needed) == ("empty_split", 21)


@pytest.mark.parametrize(
    ("added", "removed", "altered", "same_meaning", "number"),
    [
        ("a", "", "", True, "1.3.0"),
        ("a", "b", "c", True, "1.3.0"),
        ("", "b", "", True, "1.2.4"),
        ("", "", "c", True, "1.2.4"),
        ("a", "", "", False, "2.0.0"),
        ("", "b", "", False, "2.0.0"),
    ],
)
def test_what_changed_says_what_the_version_is_called(
    added: str, removed: str, altered: str, same_meaning: bool, number: str
) -> None:
    difference = Change(frozenset(added), frozenset(removed), frozenset(altered))
    assert str(next_number("1.2.3", difference, same_meaning=same_meaning)) == number


def test_the_first_version_is_1_0_0() -> None:
    assert next_number(None, Change(frozenset("a"), frozenset(), frozenset()), same_meaning=True) == Number(1, 0, 0)


def test_a_change_is_of_the_splits_alone() -> None:
    before = [a_member("1"), a_member("2"), a_member("3", table="contrast")]
    after = [a_member("1", quality_score=80.0), a_member("3", table=""), a_member("4"), a_member("5", table="review")]
    assert change(before, after) == Change(frozenset({"4"}), frozenset({"2"}), frozenset({"1"}))
    assert not change(before, before)


@pytest.mark.parametrize(
    "other",
    [
        {"content": "d"}, {"quality_score": 90.5}, {"split": "test"}, {"table": "contrast"}, {"group": "g"},
        {"reasons": ("r",)}, {"decision": "REVIEW"}, {"difficulty": 0.6}, {"task": "home/2"}, {"key": "k"},
    ],
)  # fmt: skip
def test_what_a_learner_could_see_is_in_the_digest(other: dict[str, object]) -> None:
    assert row_digest(a_member()) != row_digest(a_member(**other))  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [{"batch_id": "default-9"}, {"sketch": b"1"}, {"exact": "y"}])
def test_when_and_how_a_row_came_is_not_in_the_digest(other: dict[str, object]) -> None:
    assert row_digest(a_member()) == row_digest(a_member(**other))  # type: ignore[arg-type]


def test_a_digest_is_of_the_rows_in_tables_whatever_their_order() -> None:
    rows = [a_member("1"), a_member("2"), a_member("3", table="contrast")]
    assert version_digest(rows) == version_digest(rows[::-1]) == version_digest([*rows, a_member("4", table="")])
    assert version_digest(rows) != version_digest(rows[:2])
    columns = Columns.of(rows)
    columns.digest[:] = [list(row_digest(member)) for member in rows]
    assert digest_of(columns) == version_digest(rows)


def test_digests_that_begin_alike_are_still_in_order() -> None:
    columns = Columns.of([a_member(f"{number}") for number in range(6)])
    columns.digest[:] = [[7] * 8 + [9 - row] * 8 + [0] * 16 for row in range(6)]
    assert digest_of(columns) == digest_of_sorted(b"".join(sorted(row.tobytes() for row in columns.digest)))


def test_statistics_count_the_splits_and_say_why_the_others_are_out() -> None:
    rows = [
        a_member("1", quality_score=80.0),
        a_member("2", quality_score=90.0, table="test", difficulty=0.9),
        a_member("3", table="contrast", decision="REJECT", reasons=("quality_score",), quality_score=10.0),
        a_member("4", table="", reasons=("near_duplicate",)),
    ]
    found = statistics(tally_of(rows))
    assert found["splits"] == {"train": 1, "validation": 0, "test": 1}
    assert (found["score_mean"], found["score_deviation"]) == (85.0, 5.0)
    assert found["difficulties"] == {"hard": 1, "medium": 1}
    assert found["reasons"] == {"near_duplicate": 1, "quality_score": 1}
    assert (found["contrast"], found["review"]) == (1, 0)


def test_no_rows_have_no_mean() -> None:
    assert statistics(tally_of([]))["score_mean"] is None
