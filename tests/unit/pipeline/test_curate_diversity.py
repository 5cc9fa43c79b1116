"""The diversity of a version is told by its columns, whatever the order of its rows."""

import numpy as np
import pytest

from l07.domain.quality import CurateRules
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.columns import TABLE, Columns
from l07.pipeline.curate.diversity import diversity
from tests.curation import a_batch, a_task_each

RULES = CurateRules()


def columns(tasks: list[int], *, table: str = "train", deeds: list[int] | None = None) -> Columns:
    many = len(tasks)
    zeros = {name: np.zeros(many, "i4") for name in ("source", "domain", "task_type")}
    return Columns(
        table=np.full(many, TABLE[table], "u1"), level=np.zeros(many, "u1"), task=np.array(tasks, "i4"),
        deeds=np.array(deeds or [0] * many, "u8"), **zeros,
    )  # fmt: skip


def test_a_task_that_is_run_often_counts_for_little() -> None:
    even = diversity(columns([0, 1, 2, 3]))["tasks"]
    uneven = diversity(columns([0] * 97 + [1, 2, 3]))["tasks"]
    assert even == {"different": 4, "effective": 4.0, "largest_share": 0.25}
    assert uneven["different"] == 4
    assert uneven["effective"] == pytest.approx(1.18, abs=0.01)
    assert uneven["largest_share"] == 0.97


def test_calls_that_two_runs_made_are_one() -> None:
    found = diversity(columns([0, 1, 2, 3, 4], deeds=[7, 7, 8, 9, 0]))["deeds"]
    assert found == {"rows": 4, "different_share": 0.75}


def test_strata_are_told_against_those_that_could_be() -> None:
    some = columns([0, 1, 2, 3])
    some.level[:] = [0, 1, 2, 0]
    some.source[:] = [0, 0, 0, 1]
    found = diversity(some)["strata"]
    assert (found["filled"], found["possible"], found["coverage"]) == (4, 6, 0.666667)
    assert found["evenness"] == 1.0


def test_rows_in_no_split_do_not_count() -> None:
    assert diversity(columns([0, 1, 2], table="contrast")) == {}


def test_it_stands_in_the_version_whatever_the_order_of_its_rows() -> None:
    rows = a_task_each(20)
    one, other = build([a_batch(rows)], RULES), build([a_batch(rows[::-1])], RULES)
    assert isinstance(one, Draft)
    assert isinstance(other, Draft)
    assert one.statistics["diversity"] == other.statistics["diversity"]
    assert one.statistics["diversity"]["tasks"]["different"] == 20


def test_strata_are_the_different_lines_of_the_columns_that_make_them() -> None:
    rng = np.random.default_rng(5)
    for size in (1, 7, 300):
        found = columns([0] * size)
        for name, many in (("source", 4), ("domain", 9), ("task_type", 3), ("level", 3)):
            getattr(found, name)[:] = rng.integers(0, many, size) * 2
        parts = np.stack([found.source, found.domain, found.task_type, found.level])
        told = diversity(found)["strata"]
        assert told["filled"] == len(np.unique(parts, axis=1).T)
        assert told["possible"] == np.prod([len(np.unique(part)) for part in parts])
