"""What a training cost, and what it brought: from measured seconds, tokens and joules, a price, and the validation's interval.

Nothing here is guessed: what was not measured is None, and a sum says of how many it is the sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HOUR_S = 3600.0
POINT = 0.01  # of the share of exact calls
BENCHMARK = "benchmark"  # the stage whose estimate is the gain over the baseline


@dataclass(frozen=True, slots=True)
class Price:
    """What an hour of the machine costs; None: nobody has said so."""

    per_hour: float | None = None
    currency: str = "USD"

    def cost(self, seconds: float | None) -> float | None:
        """Of so many seconds, to a millionth."""
        if seconds is None or self.per_hour is None:
            return None
        return round(seconds / HOUR_S * self.per_hour, 6)

    def seconds(self, cost: float) -> float | None:
        """What can be had for it; None: it has no price, or costs nothing."""
        return cost / self.per_hour * HOUR_S if self.per_hour else None


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one attempt, or of several together. `joules` None: not measured, in at least one of them."""

    seconds: float = 0.0
    joules: float | None = None

    @staticmethod
    def total(parts: Sequence["Spent"]) -> "Spent":
        measured = [part.joules for part in parts if part.joules is not None]
        joules = sum(measured) if parts and len(measured) == len(parts) else None
        return Spent(sum(part.seconds for part in parts), joules)

    def document(self, price: Price) -> dict[str, Any]:
        """As it stands in events and in lineage; what is not known is left out."""
        cost = price.cost(self.seconds)
        return {
            "spent_s": round(self.seconds, 3),
            **({"cost": cost, "currency": price.currency} if cost is not None else {}),
            **({"energy_j": round(self.joules, 1)} if self.joules is not None else {}),
        }


# ------------------------------------------------------------------ budgets


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget that is set: its setting's name, its value and unit, what it comes to in seconds, what of it is gone."""

    name: str
    value: float
    unit: str
    seconds: float
    spent_s: float

    @property
    def left_s(self) -> float:
        return self.seconds - self.spent_s

    def __str__(self) -> str:
        return f"{self.name} = {self.value:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may take, alone and with its track's others of the calendar month (UTC). None: no bound."""

    job_s: float | None = None
    job_cost: float | None = None
    month_s: float | None = None
    month_cost: float | None = None

    def tightest(self, price: Price, *, job_s: float, month_s: float) -> Limit | None:
        """The bound that is reached first by a job that has taken `job_s`, in a month in which its track took `month_s`, this
        job's seconds among them; None: there is none."""
        asked = (
            ("training.budget_s", self.job_s, "s", self.job_s, job_s),
            ("training.budget_cost", self.job_cost, price.currency, _seconds(price, self.job_cost), job_s),
            ("training.month_budget_s", self.month_s, "s", self.month_s, month_s),
            ("training.month_budget_cost", self.month_cost, price.currency, _seconds(price, self.month_cost), month_s),
        )
        limits = [
            Limit(name, value, unit, seconds, spent)
            for name, value, unit, seconds, spent in asked
            if value is not None and seconds is not None
        ]
        return min(limits, key=lambda limit: limit.left_s, default=None)


def _seconds(price: Price, cost: float | None) -> float | None:
    return None if cost is None else price.seconds(cost)


# ------------------------------------------------------------------ gain


@dataclass(frozen=True, slots=True)
class Gain:
    """Points over the baseline on held-out tasks, with the validation's 95 % interval; `n` task groups."""

    points: float
    low: float
    high: float
    n: int
    baseline: str = ""

    @staticmethod
    def of(validated: Mapping[str, Any] | None) -> "Gain | None":
        """From the data of `model.validated`; None: it has no benchmark with an interval."""
        stages = (validated or {}).get("stages") or ()
        found: Mapping[str, Any] = next((stage for stage in stages if stage.get("stage") == BENCHMARK), {})
        if found.get("estimate") is None or not found.get("interval"):
            return None
        low, high = found["interval"]
        return Gain(
            round(found["estimate"] / POINT, 4), round(low / POINT, 4), round(high / POINT, 4), int(found["n"]),
            str((validated or {}).get("baseline") or ""),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PerPoint:
    """Cost of a point. The interval is the gain's, turned round; `high` None: the gain may be nothing, so there is no bound.
    `cost` None: there was no gain."""

    cost: float | None
    low: float | None
    high: float | None

    @staticmethod
    def of(cost: float | None, gain: Gain | None) -> "PerPoint | None":
        """None where one of the two was not measured."""
        if cost is None or gain is None:
            return None
        estimate, low, high = (
            round(cost / points, 6) if points > 0 else None for points in (gain.points, gain.high, gain.low)
        )
        return PerPoint(estimate, low, high)


# ------------------------------------------------------------------ sums


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over those that were measured; `of` counts them all."""

    value: float | None
    measured: int
    of: int

    @staticmethod
    def over(values: Iterable[float | None]) -> "Total":
        every = list(values)
        known = [value for value in every if value is not None]
        return Total(round(sum(known), 6) if known else None, len(known), len(every))


@dataclass(frozen=True, slots=True)
class Line:
    """A job, what it took, and what its model gained."""

    job: str
    track: str
    dataset: str
    method: str
    state: str
    seconds: float | None = None
    tokens: int | None = None
    joules: float | None = None
    cost: float | None = None
    currency: str = ""
    model: str = ""
    gain: Gain | None = None

    @property
    def per_point(self) -> PerPoint | None:
        return PerPoint.of(self.cost, self.gain)


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some lines. Costs are summed by currency: no rate of exchange is known here."""

    jobs: int
    seconds: Total
    tokens: Total
    joules: Total
    costs: Mapping[str, Total] = field(default_factory=dict)

    @staticmethod
    def of(lines: Sequence[Line]) -> "Sums":
        currencies = sorted({line.currency for line in lines if line.cost is not None})
        return Sums(
            len(lines),
            Total.over(line.seconds for line in lines),
            Total.over(line.tokens for line in lines),
            Total.over(line.joules for line in lines),
            {name: Total.over(line.cost if line.currency == name else None for line in lines) for name in currencies},
        )
