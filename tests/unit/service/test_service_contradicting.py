"""Two scores before the seal: which one counts follows from the wire's rule, whichever came first."""

import random

import pytest

from l07.domain.plants.base import Pool, SecondScore
from l07.domain.plants.plan import OF_REJECTED, Plant, plants
from l07.ports import SealedRow
from l07.service.auditing.contradicting import contradict
from l07.settings import Settings
from tests.curation import a_row, a_task_each
from tests.unit.pipeline.test_audit import example_of

SETTINGS = Settings()


def a_plant(row: SealedRow, fault: str, second: SecondScore) -> Plant:
    return Plant("conflict", fault, "home", row.key, row.key, "planted", example_of(row), second=second)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("quality", "confidence", "smaller_id", "counts"),
    [(20.0, 0.95, False, True), (20.0, 0.85, True, False), (20.0, 0.9, True, True), (20.0, 0.9, False, False)],
)
def test_the_surer_score_counts_and_of_equal_ones_that_with_the_smaller_id(
    first: bool, quality: float, confidence: float, smaller_id: bool, counts: bool
) -> None:
    row = a_row("r1", score=90.0, confidence=0.9)
    second = SecondScore(quality, confidence, smaller_id=smaller_id, first=first)
    found = contradict([row, a_row("r2")], [a_plant(row, "surer_score", second)], SETTINGS)
    assert found.rows.keys() == {row.key}
    assert found.duplicates == {"score_superseded": 1}
    judged = found.rows[row.key]
    if not counts:
        assert judged == row
        return
    assert (judged.score, judged.confidence, judged.decision, judged.reasons) == (
        quality,
        confidence,
        "REJECT",
        ("low_score",),
    )
    assert judged.trace == row.trace
    assert judged.evaluation is not None
    assert b'"quality_score":20' in judged.evaluation


def test_a_reason_of_the_trace_stays_whatever_the_scores_say() -> None:
    row = a_row("r1", score=20.0)._replace(reasons=("no_goal", "low_score"))
    second = SecondScore(95.0, 0.99, smaller_id=False, first=False)
    judged = contradict([row], [a_plant(row, "unsure_praise", second)], SETTINGS).rows[row.key]
    assert (judged.decision, judged.reasons) == ("REJECT", ("no_goal",))


def test_every_kind_that_is_planted_ends_as_it_should() -> None:
    rng = random.Random(3)
    rows = [*a_task_each(40), *a_task_each(40, prefix="bad", score=30.0)]
    rows = [row._replace(confidence=round(rng.uniform(0.65, 0.95), 3)) for row in rows]
    of = {row.key: row for row in rows}
    examples = [example_of(row) for row in rows]
    pool = Pool.of([e for e in examples if e.quality_score >= 70], [e for e in examples if e.quality_score < 70])
    planted = plants({"home": pool}, {"conflict": 0.5, "outvoted": 0.4}, seed=7)
    assert {plant.fault for plant in planted} == {
        "surer_score",
        "tied_score",
        "unsure_praise",
        "unsure_blame",
        "tied_blame",
    }
    found = contradict(rows, planted, SETTINGS)
    assert sum(found.duplicates.values()) == len(planted) == len(found.rows)
    for plant in planted:
        want = "ACCEPT" if plant.kind == "outvoted" else "REJECT"
        assert found.rows[plant.of].decision == want, plant.fault
        assert plant.passes_at_first is (of[plant.of].decision == "ACCEPT") is (plant.fault not in OF_REJECTED)
