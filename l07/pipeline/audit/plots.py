"""Bars with intervals and histograms, as SVG without a script. Colours are the page's variables, so that they follow light
and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, LINE = 860, 250, 150, 24  # pixels


@dataclass(frozen=True, slots=True)
class Bar:
    """One line: parts that add up to at most 1, drawn one behind the other, and the interval of one of them."""

    label: str
    parts: Sequence[tuple[str, float]]  # (CSS class, share)
    interval: tuple[float, float] | None
    note: str
    heading: bool = False


def bars(lines: Sequence[Bar], *, limit: float | None = None, most: float = 1.0) -> str:
    """`most`: the share at the right end. `limit`: a dashed line."""
    if not lines:
        return ""
    scale = (WIDTH - LEFT - RIGHT) / most
    drawn = [_bar(line, 4 + LINE * number, scale, most) for number, line in enumerate(lines)]
    height = LINE * len(lines) + 26
    return _svg(height, _axis(height - 22, scale, most) + "".join(drawn) + _limit(limit, height - 22, scale))


def _bar(line: Bar, y: int, scale: float, most: float) -> str:
    weight = ' font-weight="600"' if line.heading else ""
    out = [f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end"{weight}>{escape(line.label)}</text>']
    at = 0.0
    for name, share in line.parts:
        width = max(0.0, min(share, most - at)) * scale
        title = f"<title>{escape(name)} {100 * share:.1f} %</title>"
        out.append(
            f'<rect class="{name}" x="{LEFT + at * scale:.1f}" y="{y}" width="{width:.1f}" height="16">{title}</rect>'
        )
        at += share
    if line.interval:
        low, high = (LEFT + min(value, most) * scale for value in line.interval)
        out.append(
            f'<path class="whisker" d="M{low:.1f} {y + 4}v8M{low:.1f} {y + 8}H{high:.1f}M{high:.1f} {y + 4}v8"/>'
        )
    out.append(f'<text class="note" x="{WIDTH - RIGHT + 8}" y="{y + 13}">{escape(line.note)}</text>')
    return "".join(out)


def _axis(y: int, scale: float, most: float) -> str:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if most / step <= 6)
    ticks = [n * step for n in range(int(most / step + 1e-9) + 1)]
    lines = "".join(f"M{LEFT + tick * scale:.1f} 0V{y}" for tick in ticks)
    texts = "".join(
        f'<text class="note" x="{LEFT + tick * scale:.1f}" y="{y + 15}" text-anchor="middle">{100 * tick:g} %</text>'
        for tick in ticks
    )
    return f'<path class="grid" d="{lines}"/>{texts}'


def _limit(limit: float | None, y: int, scale: float) -> str:
    return "" if limit is None else f'<path class="limit" d="M{LEFT + limit * scale:.1f} 0V{y}"/>'


def histogram(series: Mapping[str, Sequence[float]], *, low: float, high: float) -> str:
    """Shares of each series in equal steps from `low` to `high`; each series by its CSS class, side by side."""
    count = max((len(values) for values in series.values()), default=0)
    if not count:
        return ""
    top, height = max(max(values, default=0.0) for values in series.values()) or 1.0, 130
    slot = (WIDTH - 120) / count
    width = slot / (len(series) + 0.3)
    drawn = []
    for place, (name, values) in enumerate(series.items()):
        for number, value in enumerate(values):
            tall = value / top * height
            x = 60 + number * slot + place * width
            title = f"<title>{escape(name)}: {100 * value:.1f} %</title>"
            drawn.append(
                f'<rect class="{name}" x="{x:.1f}" y="{height - tall:.1f}" width="{width:.1f}" height="{tall:.1f}">{title}</rect>'
            )
    end = 60 + count * slot
    foot = (
        f'<path class="grid" d="M60 {height}H{end:.1f}"/><text class="note" x="60" y="{height + 16}">{low:.3g}</text>'
        f'<text class="note" x="{end:.1f}" y="{height + 16}" text-anchor="end">{high:.3g}</text>'
    )
    return _svg(height + 22, "".join(drawn) + foot)


def _svg(height: int, content: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{content}</svg>'


def interval(value: Mapping[str, Any]) -> tuple[float, float] | None:
    return None if value["share"] is None else (value["low"], value["high"])
