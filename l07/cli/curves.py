"""A curve where a person reads it: in one line, as blocks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40


def curve(values: Sequence[float]) -> str:
    """First and last value and the way between, at most 40 points, the highest a full block; "" for no values."""
    if not values:
        return ""
    return f"{values[0]:.3f} -> {values[-1]:.3f}  {blocks(values)}"


def blocks(values: Sequence[float]) -> str:
    """The curve alone: each block is the mean of its share of the values."""
    if len(values) < 2:
        return ""
    count = min(WIDTH, len(values))
    edges = [round(at * len(values) / count) for at in range(count + 1)]
    points = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(points), max(points)
    return "".join(BLOCKS[round(7 * (point - low) / ((high - low) or 1.0))] for point in points)


def readable(view: Mapping[str, Any]) -> dict[str, Any]:
    """A view with its nested groups spelled out, one dotted name a line, and lists of losses as curves."""
    found: dict[str, Any] = {}
    for name, value in view.items():
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping | list) for inner in value.values()):
            found |= {f"{name}.{inner}": text for inner, text in readable(value).items()}
        elif (
            isinstance(value, list) and value and all(isinstance(point, Mapping) and "loss" in point for point in value)
        ):
            found[name] = curve([float(point["loss"]) for point in value])
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            found |= {f"{name}.{number}": part.get("detail") or part for number, part in enumerate(value, 1)}
        else:
            found[name] = value
    return found
