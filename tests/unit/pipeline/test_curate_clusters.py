"""Near-duplicate clusters are kept over versions, and what a person should look at is said."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from l07.backends.parquet import read_manifest
from l07.backends.worker import build_version
from l07.domain.quality import CurateRules
from l07.pipeline.curate.build import Draft, build
from l07.ports import CurateRequest, SealedBatch, SealedRow
from tests.curation import Shelf, a_batch, a_conversation, a_row, a_task_each, words

RULES = CurateRules(outliers=False)


def texts(seed: int, count: int) -> list[str]:
    return words(random.Random(seed), count).split()


COMMON = texts(1, 100)


def alike(ident: str, *, changed: Sequence[int] = (), task: str = "", **more: object) -> SealedRow:
    """A run whose words are COMMON but for those at the places in `changed`, which come from `more`'s seed."""
    other = texts(2, 100)
    said = [other[place] if place in changed else word for place, word in enumerate(COMMON)]
    messages = a_conversation("count the guests", " ".join(said), answer=f"done by {ident}")
    return a_row(ident, messages=messages, task_id=task or ident, **more)


def built(*batches: SealedBatch) -> Draft:
    """The last of the versions of these batches, each on top of the one before."""
    shelf, draft = Shelf(), None
    for batch in batches:
        draft = build([batch], RULES, parent=shelf.parent(draft) if draft else None)
        assert isinstance(draft, Draft), draft
    assert draft is not None
    return draft


def labels(draft: Draft) -> dict[str, int]:
    return {key.split(":")[1]: member.cluster for key, member in draft.members.items() if member.cluster}


def test_rows_that_are_alike_have_one_label_and_others_none() -> None:
    found = labels(built(a_batch([*a_task_each(20), alike("a"), alike("b"), alike("c")])))
    assert found.keys() == {"a", "b", "c"}
    assert len(set(found.values())) == 1


def test_what_left_as_a_duplicate_counts_as_part_of_the_flood() -> None:
    rows = [alike(f"f{n:02}", task="same") for n in range(12)]
    draft = built(a_batch([*a_task_each(20), *rows]))
    largest = draft.statistics["clusters"]["largest"]
    assert largest == {"rows": 12, "share": 0.375, "kept": 1, "share_kept": round(1 / 21, 6)}
    (warning,) = draft.warnings
    assert warning.name == "large_cluster"
    assert "12 runs, 37.5% of the track" in warning.message


def test_a_cluster_grows_over_versions() -> None:
    first = a_batch([*a_task_each(20), alike("a"), alike("b")])
    second = a_batch([*a_task_each(5, prefix="x"), alike("c")], number=2)
    draft = built(first, second)
    assert draft.statistics["clusters"]["largest"]["rows"] == 3
    assert len(set(labels(draft).values())) == 1


def test_a_run_that_is_like_two_clusters_makes_them_one() -> None:
    last, before = range(90, 100), range(80, 100)
    first = a_batch(
        [*a_task_each(20), alike("a1"), alike("a2"), alike("b1", changed=before), alike("b2", changed=before)]
    )
    two = built(first)
    assert sorted(Counter(labels(two).values()).values()) == [2, 2]
    draft = built(first, a_batch([*a_task_each(5, prefix="x"), alike("m", changed=last)], number=2))
    assert list(Counter(labels(draft).values()).values()) == [5]
    assert draft.statistics["clusters"]["clusters"] == 1


@pytest.mark.parametrize("n", range(5))
def test_whom_the_new_run_is_not_like_itself_gets_its_label_too(n: int) -> None:
    """Five times with other names: which of the three is the smallest draw is chance."""
    first = a_batch([*a_task_each(20), alike(f"a{n}"), alike(f"m{n}", changed=range(90, 100))])
    draft = built(first, a_batch([*a_task_each(5, prefix="x"), alike(f"b{n}", changed=range(80, 100))], number=2))
    assert list(Counter(labels(draft).values()).values()) == [3]


def test_labels_come_through_the_files(tmp_path: Path) -> None:
    first = a_batch([*a_task_each(20), alike("a"), alike("b")])
    second = a_batch([*a_task_each(5, prefix="x"), alike("c")], number=2)
    one, two = tmp_path / "one", tmp_path / "two"
    build_version(CurateRequest("default", [first], RULES, None, None, one))
    assert read_manifest(one)["clusters"]["largest"]["rows"] == 2
    build_version(CurateRequest("default", [second], RULES, one, None, two))
    assert read_manifest(two)["clusters"]["largest"]["rows"] == 3


def test_the_order_of_rows_does_not_show_in_labels() -> None:
    rows = [*a_task_each(20), *(alike(f"f{n}") for n in range(4))]
    assert labels(built(a_batch(rows))) == labels(built(a_batch(rows[::-1])))


def test_ordinary_runs_warn_of_nothing_and_each_source_says_what_was_kept() -> None:
    low = [row._replace(reasons=("low_score",)) for row in a_task_each(4, prefix="low", score=20.0)]
    draft = built(a_batch([*a_task_each(20), *low]))
    assert draft.warnings == ()
    kept = {"passed": 20, "kept": 20, "share_kept": 1.0}
    assert draft.statistics["clusters"]["sources"] == {"/l02/agents": kept}
    assert draft.statistics["clusters"]["domains"] == {"home": kept}


def test_a_source_whose_runs_mostly_break_one_rule_is_named() -> None:
    tools = [{"type": "function", "function": {"name": "rest", "parameters": {}}}]
    odd = a_task_each(2, prefix="odd", tools=tools)
    assert [w.name for w in built(a_batch([*a_task_each(38), *odd])).warnings] == []
    (warning,) = built(a_batch([*a_task_each(36), *odd, *a_task_each(2, prefix="more", tools=tools)])).warnings
    assert warning.name == "incomplete_source"
    assert "4 of 40 runs of /l02/agents are rejected for unknown_tool" in warning.message
