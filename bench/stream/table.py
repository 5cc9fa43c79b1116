"""The rows of the report: a measure, what it must reach, what it shall reach, and what was seen."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """`found`: one number a round, the median counts. Without any the row is not met, and `note` says why."""

    name: str
    must: float | None
    goal: float | None
    found: Sequence[float] = field(default_factory=tuple)
    form: str = ",.2f"
    at_most: bool = False  # the limits are upper ones
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.found) if self.found else None

    @property
    def met(self) -> str:
        if self.must is None:
            return ""
        if self.goal is not None and self._reaches(self.goal):
            return "goal"
        return "must" if self._reaches(self.must) else "NO"

    def _reaches(self, limit: float) -> bool:
        median = self.median
        return median is not None and (median <= limit if self.at_most else median >= limit)

    def cells(self) -> tuple[str, str, str, str, str]:
        seen = "not measured"
        if self.found:
            spread = f" [{min(self.found):{self.form}} - {max(self.found):{self.form}}]" if len(self.found) > 1 else ""
            seen = f"{self.median:{self.form}}{spread}"
        limits = ["" if limit is None else f"{limit:{self.form}}" for limit in (self.must, self.goal)]
        return (self.name, *limits, f"{seen}  {self.note}".rstrip(), self.met)  # type: ignore[return-value]


def show(rows: Sequence[Row]) -> None:
    table = [("measure", "must", "goal", "measured: median [min - max]", "met"), *(row.cells() for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(5)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [asdict(row) | {"median": row.median, "met": row.met} for row in rows]
