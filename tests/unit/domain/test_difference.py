"""What a version has that another has not: rows, groups, settings, and the part of the number that follows."""

from collections.abc import Mapping
from typing import Any

import pytest

from l07.domain.difference import Side, difference

MANIFEST: Mapping[str, Any] = {
    "dataset": "default", "version": "1.0.0", "digest": "d", "parent": None, "schema": 2, "meaning": {"gate": 70},
    "config": {"seed": 7}, "splits": {}, "domains": {}, "difficulties": {}, "task_types": {}, "groups": {},
    "contrast": 0, "review": 0,
}  # fmt: skip


def a_member(key: str, **changes: Any) -> dict[str, Any]:
    row = {
        "key": key, "quality_score": 90.0, "confidence": 0.9, "decision": "ACCEPT", "reasons": [], "table": "train",
        "split": "train", "group": "g", "task": "home/t", "task_type": "chore", "domain": "home", "source": "/s",
        "difficulty": 0.5, "content": "c",
    }  # fmt: skip
    return row | changes


def a_side(*members: dict[str, Any], groups: Any = (), **manifest: Any) -> Side:
    return Side(dict(MANIFEST) | manifest, members, groups)


def test_a_version_does_not_differ_from_itself() -> None:
    side = a_side(a_member("a"), a_member("b", table="contrast"))
    found = difference(side, side)
    assert found["same"]
    assert found["level"] == "none"
    assert found["rows"] == {"added": 0, "removed": 0, "altered": 0}
    assert (found["moved"], found["settings"]) == ({}, {})


def test_rows_that_came_and_went_are_named_with_the_reasons_that_are_new() -> None:
    old = a_side(a_member("stays", reasons=["noted"]), a_member("goes", reasons=["noted"]))
    new = a_side(a_member("stays", reasons=["noted"]), a_member("comes"), digest="e")
    gone = a_member("goes", table="", split="", reasons=["noted", "split_conflict"])
    found = difference(old, Side(new.manifest, [*new.members, gone], ()))
    assert [row["key"] for row in found["added"]] == ["comes"]
    assert [(row["key"], row["to"], row["reasons"]) for row in found["removed"]] == [("goes", "", ["split_conflict"])]
    assert found["removed_reasons"] == {"split_conflict": 1}
    assert found["moved"] == {"train -> out": 1}
    assert (found["same"], found["level"]) == (False, "minor")


def test_a_row_that_the_later_version_does_not_know_any_more_says_so() -> None:
    found = difference(a_side(a_member("a"), a_member("b")), a_side(a_member("b")))
    assert found["removed"][0]["reasons"] == ["unknown_to_the_later"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("quality_score", 71.0), ("table", "test"), ("split", "test"), ("reasons", ["x"]), ("group", "h")],
)
def test_each_field_that_differs_is_told_with_both_values(field: str, value: Any) -> None:
    before = a_member("a")
    found = difference(a_side(before), a_side(a_member("a", **{field: value})))
    assert found["altered"] == [{"key": "a", "fields": {field: [before[field], value]}}]
    assert (found["altered_fields"], found["level"]) == ({field: 1}, "patch")


def test_another_text_is_told_without_the_text() -> None:
    found = difference(a_side(a_member("a")), a_side(a_member("a", content="other")))
    assert found["altered"][0]["fields"] == {"content": "changed"}


def test_rows_beside_the_splits_move_but_make_no_level() -> None:
    old = a_side(a_member("a", table="review"), review=1)
    found = difference(old, a_side(a_member("a", table="contrast"), contrast=1))
    assert (found["moved"], found["level"]) == ({"review -> contrast": 1}, "none")
    assert found["counts"]["beside"] == {"contrast": [0, 1], "review": [1, 0]}


def test_another_meaning_of_a_label_is_a_major_version_whatever_the_rows_did() -> None:
    found = difference(a_side(a_member("a")), a_side(a_member("a"), a_member("b"), meaning={"gate": 80}))
    assert found["level"] == "major"
    assert found["settings"] == {"meaning.gate": [70, 80]}


def test_settings_that_only_one_version_names_are_told() -> None:
    found = difference(a_side(config={"seed": 7, "old": 1}), a_side(config={"seed": 8}))
    assert found["settings"] == {"config.old": [1, None], "config.seed": [7, 8]}


def test_groups_that_became_one_are_named() -> None:
    old = [{"id": "a", "tasks": ["a"], "split": "train"}, {"id": "b", "tasks": ["b"], "split": "test"}]
    new = [{"id": "b", "tasks": ["a", "b"], "split": "test"}, {"id": "c", "tasks": ["c"], "split": "train"}]
    found = difference(a_side(groups=old), a_side(groups=new))["groups"]
    assert found == {"new": 1, "merged": 1, "merges": [{"into": "b", "split": "test", "from": ["a", "b"]}]}


def test_counts_are_over_all_rows_however_few_are_listed() -> None:
    new = a_side(*(a_member(f"k{n}") for n in range(5)))
    found = difference(a_side(), new, rows=2)
    assert (len(found["added"]), found["rows"]["added"]) == (2, 5)
    assert found["counts"]["sources"] == {"/s": [0, 5]}
    assert difference(a_side(), new, rows=0)["added"] == []
