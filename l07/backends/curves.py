"""A training's curves as files of its job's folder: curve.json and curve.csv, and an SVG for each thing that was measured."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l07.backends.plots import FOOT, MARGIN, PLOT, RIGHT, TOP, WIDTH, svg, text
from l07.domain.curve import NOT_DRAWN, Curve, curve_of
from l07.errors import disk_errors

TITLES: Mapping[str, str] = {
    "loss": "Loss by step",
    "learning_rate": "Learning rate by step",
    "grad_norm": "Norm of the gradient by step, before clipping",
    "held_out_exact": "Exact calls at held-out places by step",
    "held_out_reward": "Reward at held-out places by step",
    "held_out_valid": "Valid calls at held-out places by step",
}
MOST = 16  # plots
MOST_POINTS = 600  # of a way: about one a pixel


def write(folder: Path) -> None:
    """Read what the job's attempts left so far, and write its curves anew; a job that said nothing has none.

    Raises StoreFull (E7400), FolderNotWritable (E7402)."""
    curve = read(folder)
    if not curve.points:
        return
    files = {"curve.json": json.dumps(curve.document(), indent=1) + "\n", "curve.csv": curve.table(), **draw(curve)}
    for name, content in files.items():
        draft = folder / f".{name}.draft"
        with disk_errors(folder):
            draft.write_text(content, "utf-8")
            draft.replace(folder / name)


def read(folder: Path) -> Curve:
    """Of a job's folder, with all its attempts."""
    numbered = sorted((int(own.name[8:]), own) for own in folder.glob("attempt-*") if own.name[8:].isdecimal())
    attempts = [own for _, own in numbered]
    results = [found for own in attempts if isinstance(found := _json(_read(own / "result.json")), dict)]
    done = [result for result in results if result.get("status") == "completed"]
    return curve_of([_lines(own) for own in attempts], done[0] if done else None)


def _lines(own: Path) -> list[Mapping[str, Any]]:
    told = (_json(line) for line in _read(own / "progress.jsonl").splitlines())
    return [line for line in told if isinstance(line, dict)]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _json(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:  # a line that was cut off
        return None


# ------------------------------------------------------------------ plots


def draw(curve: Curve) -> dict[str, str]:
    """File name -> SVG: loss with the validation's, rate, gradient norm, and what a method measures of its own."""
    names = [name for name in curve.names if name not in NOT_DRAWN and name != "eval_loss"][:MOST]
    found = {}
    for name in names:
        ways = {name: curve.series(name)}
        if name == "loss" and (looks := curve.series("eval_loss")):
            ways["validation"] = looks
        found[f"{_file(name)}.svg"] = plot(TITLES.get(name, f"{name} by step"), ways)
    return {name: drawn for name, drawn in found.items() if drawn}


def _file(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "plot"


def plot(title: str, ways: Mapping[str, Sequence[tuple[float, float]]], *, across: str = "step") -> str:
    """The first way as a line, the others as points; "" where there are not two steps. `across`: what is counted there."""
    every = [point for way in ways.values() for point in way]
    first, last = min((x for x, _ in every), default=0.0), max((x for x, _ in every), default=0.0)
    if first == last:
        return ""
    steps = scale(min(y for _, y in every), max(y for _, y in every))
    low, high = steps[0], steps[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = MARGIN + (x - first) / (last - first) * (WIDTH - MARGIN - RIGHT)
        return across, TOP + PLOT * (1 - (y - low) / (high - low))

    drawn = []
    for step in steps:
        y = at(first, step)[1]
        drawn.append(
            f'<path class="grid" d="M{MARGIN} {y:.1f}H{WIDTH - RIGHT}"/>'
            + text(MARGIN - 8, y + 4, f"{step:g}", "end", "soft")
        )
    line, *others = ways.values()
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in thinned(line)))
    drawn.append(f'<path class="way" d="M{way}"/>')
    for points in others:
        drawn += [
            f'<circle class="b" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{across} {step:g}: {value:g}</title></circle>'
            for (step, value), (x, y) in ((point, at(*point)) for point in points)
        ]
    drawn.append(text(MARGIN, TOP + PLOT + 20, f"{across} {first:,.0f}", "start", "soft"))
    drawn.append(text(WIDTH - RIGHT, TOP + PLOT + 20, f"{across} {last:,.0f}", "end", "soft"))
    return svg(title, TOP + PLOT + FOOT, drawn, list(ways))


def thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """As many as can be told apart: the mean of each piece, and the first and the last as they are."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    pieces = [points[at : at + size] for at in range(0, len(points), size)]
    means = [(sum(x for x, _ in piece) / len(piece), sum(y for _, y in piece) / len(piece)) for piece in pieces]
    return [points[0], *means[1:-1], points[-1]]


def scale(low: float, high: float) -> list[float]:
    """Four to seven round numbers around what is between; a flat way lies in the middle."""
    if low == high:
        pad = abs(low) / 2 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power >= rough * (1 - 1e-9))
    begin, end = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [float(f"{number * unit:.12g}") for number in range(begin, max(end, begin + 1) + 1)]
