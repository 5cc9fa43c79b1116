"""How a training went, step by step: the lines that its attempts wrote as one curve, and what of it is drawn."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]
# What a line of progress.jsonl may say of a step, and its unit; a method may add numbers of its own, by their own names.
FIELDS: Mapping[str, str] = {
    "step": "optimiser steps done",
    "steps": "optimiser steps of the whole run",
    "epoch": "passes over the train rows",
    "loss": "mean over the steps since the last line",
    "eval_loss": "on the validation split",
    "learning_rate": "of this step",
    "grad_norm": "norm of the gradient before clipping",
    "tokens_per_s": "tokens a second, since this attempt began",
    "eta_s": "seconds until the last step, at this pace",
}
NOT_DRAWN = frozenset({"step", "steps", "epoch", "eta_s", "attempt", "tokens_per_s"})


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by step, ascending; each has `step` and the numbers that were measured there."""

    points: Sequence[Mapping[str, float]]

    @property
    def names(self) -> list[str]:
        """What there is beside the step: loss first, then in the order of FIELDS, then a method's own."""
        there = {name for point in self.points for name in point}
        known = [name for name in FIELDS if name in there and name != "step"]
        return known + sorted(there - {*known, "step"})

    def series(self, name: str) -> list[tuple[float, float]]:
        """(step, value), where it was measured."""
        return [(point["step"], point[name]) for point in self.points if name in point]

    def document(self) -> dict[str, Any]:
        """curve.json."""
        return {"names": self.names, "points": [dict(point) for point in self.points]}

    def table(self) -> str:
        """curve.csv: a row a step, an empty cell where nothing was measured."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["step", *self.names])
        writer.writerows([_cell(point.get(name)) for name in ("step", *self.names)] for point in self.points)
        return out.getvalue()


def curve_of(attempts: Iterable[Sequence[Line]], result: Mapping[str, Any] | None = None) -> Curve:
    """The attempts' lines, oldest attempt first, and the result's losses and curves, which have steps without a line.

    An attempt that goes on from a checkpoint, or begins anew, replaces what an earlier one said from its first step on."""
    points: dict[int, dict[str, float]] = {}
    for lines in attempts:
        told = [line for line in lines if _step(line) is not None]
        if told:
            first = min(_step(line) or 0 for line in told)
            points = {step: point for step, point in points.items() if step < first}
        for line in told:
            points.setdefault(_step(line) or 0, {}).update(_numbers(line))
        for look in (line["look"] for line in lines if isinstance(line.get("look"), dict)):
            _add(points, look, _held_out(look))
    for line, numbers in _of_result(result or {}):
        _add(points, line, numbers)
    return Curve([{"step": step, **_finite(points[step])} for step in sorted(points) if points[step]])


def _of_result(result: Mapping[str, Any]) -> Iterator[tuple[Line, Mapping[str, Any]]]:
    yield from ((line, _numbers(line)) for line in result.get("losses") or ())
    yield from ((line, {"eval_loss": line.get("loss")}) for line in result.get("eval_losses") or ())
    yield from ((look, _held_out(look)) for look in result.get("looks") or ())
    for name, lines in (result.get("curves") or {}).items():
        yield from ((line, {name: line.get(name)}) for line in lines)


def _add(points: dict[int, dict[str, float]], line: Line, numbers: Mapping[str, Any]) -> None:
    step = _step(line)
    if step is not None:
        points.setdefault(step, {}).update(_finite(numbers))


def _held_out(look: Line) -> dict[str, Any]:
    """What a policy did at held-out places."""
    return {f"held_out_{name}": look.get(name) for name in ("exact", "reward", "valid")}


def _step(line: Line) -> int | None:
    step = line.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None


def _numbers(line: Line) -> dict[str, float]:
    return _finite({name: value for name, value in line.items() if name not in ("step", "steps", "eta_s", "attempt")})


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)
