"""Cost and benefit: every figure follows from a measured one, and what was not measured is absent."""

import math

import pytest

from l07.domain.cost import Budget, Gain, Line, PerPoint, Price, Spent, Sums, Total

EUR = Price(3.6, "EUR")  # a thousandth a second


def a_line(**changes: object) -> Line:
    same: dict[str, object] = {
        "job": "job-1",
        "track": "a",
        "dataset": "a:1.0.0",
        "method": "sft",
        "state": "COMPLETED",
    }
    return Line(**{**same, **changes})  # type: ignore[arg-type]  # a builder that changes one field at a time


def test_cost_follows_from_seconds_and_price() -> None:
    assert EUR.cost(1000.0) == 1.0
    assert EUR.seconds(1.0) == pytest.approx(1000.0)
    assert Price(0.0).cost(1000.0) == 0.0


def test_without_a_price_or_without_seconds_there_is_no_cost() -> None:
    assert Price().cost(1000.0) is None
    assert EUR.cost(None) is None
    assert Price().seconds(1.0) is None
    assert Price(0.0).seconds(1.0) is None


def test_attempts_add_up_and_energy_only_where_each_was_measured() -> None:
    both = Spent.total([Spent(1.5, 30.0), Spent(2.0, 12.0)])
    assert (both.seconds, both.joules) == (3.5, 42.0)
    assert Spent.total([Spent(1.5, 30.0), Spent(2.0)]).joules is None
    assert Spent.total([]) == Spent(0.0, None)


def test_an_event_holds_what_is_known_and_nothing_else() -> None:
    assert Spent(2.0, 7.0).document(EUR) == {"spent_s": 2.0, "cost": 0.002, "currency": "EUR", "energy_j": 7.0}
    assert Spent(2.0).document(Price()) == {"spent_s": 2.0}


# ------------------------------------------------------------------ budgets


def test_without_a_budget_there_is_no_bound() -> None:
    assert Budget().tightest(EUR, job_s=1e9, month_s=1e9) is None


@pytest.mark.parametrize(
    ("budget", "name", "left_s"),
    [
        (Budget(job_s=100.0), "training.budget_s", 90.0),
        (Budget(job_cost=0.1), "training.budget_cost", 90.0),
        (Budget(month_s=100.0), "training.month_budget_s", 60.0),
        (Budget(month_cost=0.1), "training.month_budget_cost", 60.0),
        (Budget(job_s=100.0, month_s=100.0), "training.month_budget_s", 60.0),
        (Budget(job_s=40.0, month_cost=0.1), "training.budget_s", 30.0),
        (Budget(job_s=5.0), "training.budget_s", -5.0),
    ],
)
def test_the_bound_that_is_reached_first_counts(budget: Budget, name: str, left_s: float) -> None:
    limit = budget.tightest(EUR, job_s=10.0, month_s=40.0)
    assert limit is not None
    assert (limit.name, round(limit.left_s, 6)) == (name, left_s)


def test_a_bound_in_money_says_its_currency() -> None:
    assert str(Budget(job_cost=0.5).tightest(EUR, job_s=0.0, month_s=0.0)) == "training.budget_cost = 0.5 EUR"


# ------------------------------------------------------------------ gain


def validated(estimate: float | None, interval: list[float] | None) -> dict[str, object]:
    other = {"stage": "regression", "result": "PASS", "n": 9, "estimate": 0.5, "interval": [0.4, 0.6]}
    bench = {"stage": "benchmark", "result": "PASS", "n": 195, "estimate": estimate, "interval": interval}
    return {"baseline": "tiny-base", "stages": [other, bench]}


def test_a_gain_is_the_benchmarks_difference_in_points() -> None:
    assert Gain.of(validated(0.05, [0.02, 0.08])) == Gain(5.0, 2.0, 8.0, 195, "tiny-base")


@pytest.mark.parametrize("said", [None, {}, {"stages": []}, validated(None, None), validated(0.05, None)])
def test_without_an_interval_there_is_no_gain(said: dict[str, object] | None) -> None:
    assert Gain.of(said) is None


def test_a_points_cost_has_the_gains_interval_turned_round() -> None:
    assert PerPoint.of(10.0, Gain(5.0, 2.0, 8.0, 195)) == PerPoint(2.0, 1.25, 5.0)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (Gain(1.0, -1.0, 4.0, 50), PerPoint(10.0, 2.5, None)),  # it may be no gain: no upper bound
        (Gain(1.0, 0.0, 4.0, 50), PerPoint(10.0, 2.5, None)),
        (Gain(-1.0, -3.0, 1.0, 50), PerPoint(None, 10.0, None)),
        (Gain(-2.0, -3.0, -1.0, 50), PerPoint(None, None, None)),
    ],
)
def test_where_the_gain_may_be_nothing_a_point_may_cost_anything(gain: Gain, expected: PerPoint) -> None:
    assert PerPoint.of(10.0, gain) == expected


def test_what_was_not_measured_gives_no_cost_a_point() -> None:
    assert PerPoint.of(None, Gain(5.0, 2.0, 8.0, 195)) is None
    assert PerPoint.of(10.0, None) is None
    assert a_line(cost=1.0).per_point is None


def test_an_interval_is_ordered_and_holds_its_estimate() -> None:
    for low, points, high in ((0.5, 1.0, 9.0), (2.0, 2.0, 2.0), (0.001, 3.0, 400.0)):
        found = PerPoint.of(7.0, Gain(points, low, high, 50))
        assert found is not None
        assert (found.low or 0.0) <= (found.cost or math.inf) <= (found.high or math.inf)


# ------------------------------------------------------------------ sums


def test_a_sum_says_of_how_many_it_is() -> None:
    assert Total.over([1.0, None, 2.5]) == Total(3.5, 2, 3)
    assert Total.over([None]) == Total(None, 0, 1)


def test_costs_of_two_currencies_are_not_added_up() -> None:
    lines = [
        a_line(cost=1.0, currency="EUR"),
        a_line(cost=2.0, currency="USD"),
        a_line(cost=4.0, currency="EUR"),
        a_line(),
    ]
    assert Sums.of(lines).costs == {"EUR": Total(5.0, 2, 4), "USD": Total(2.0, 1, 4)}
