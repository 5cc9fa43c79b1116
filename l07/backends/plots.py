"""Plots of a dataset's card as SVG files: no script, no font to load, the same bytes for the same numbers; light and
dark."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape as as_xml
from itertools import pairwise
from typing import Any

WIDTH, MARGIN, RIGHT = 720, 56, 20  # pixels
TOP, PLOT, FOOT = 58, 180, 40
LINE, LABEL, NOTE = 24, 230, 64  # of bars: height of a line, room for its label and its number
MOST_BARS = 16

_LIGHT = {"ink": "#1d2024", "soft": "#667078", "paper": "#ffffff", "line": "#dfe3e6", "mark": "#8a6100",
          "a": "#3f6fae", "b": "#b9bfc4", "c": "#7a9a3a", "d": "#c0762b"}  # fmt: skip
_DARK = {"ink": "#e4e7ea", "soft": "#98a1a8", "paper": "#15181b", "line": "#30363b", "mark": "#d6a63f",
         "a": "#7da7dc", "b": "#6b747b", "c": "#9dbb5f", "d": "#e09a52"}  # fmt: skip


def _rules(colours: Mapping[str, str]) -> str:
    """Colours are written out: not every viewer of SVG knows variables."""
    fills = "".join(f".{name}{{fill:{colours[name]}}}" for name in ("soft", "paper", *COLOURS))
    lines = f".grid{{stroke:{colours['line']}}}.mark{{stroke:{colours['mark']}}}.way{{stroke:{colours['a']}}}"
    return f"text{{fill:{colours['ink']}}}{fills}{lines}"


COLOURS = "abcd"
_STYLE = (
    "text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}.title{font-size:15px;font-weight:600}"
    ".grid,.mark,.way{fill:none}.mark{stroke-dasharray:4 3;stroke-width:1.5}.way{stroke-width:2}"
    f"{_rules(_LIGHT)}@media(prefers-color-scheme:dark){{{_rules(_DARK)}}}"
)

Series = Mapping[str, Sequence[float]]


def plots(manifest: Mapping[str, Any]) -> dict[str, str]:
    """File name -> SVG, of a manifest with its numbers; a plot without rows is left out."""
    histograms = manifest["histograms"]
    gate = manifest["config"]["quality_threshold"]
    found = {
        "score.svg": _histogram("Quality score (0-100)", histograms["score"], ticks=range(0, 101, 10), mark=gate),
        "difficulty.svg": _histogram(
            "Difficulty of the run (0-1)", histograms["difficulty"], ticks=[n / 5 for n in range(6)]
        ),
        "length.svg": _histogram(
            "Length of the run (characters)", histograms["length"], ticks=[100, 1e3, 1e4, 1e5, 1e6]
        ),
        "domains.svg": _bars("Rows by domain", manifest["domain_splits"]),
        "left.svg": _bars("Why rows are in no split", _reasons(manifest["left"])),
        "own.svg": _trend("Share of rows that our own models did", manifest["own"]["trend"]),
    }
    return {name: svg for name, svg in found.items() if svg}


def _reasons(left: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """ "reason (stage)" -> source -> rows; four sources are told apart."""
    sources: dict[str, int] = {}
    for row in left:
        sources[row["source"]] = sources.get(row["source"], 0) + row["rows"]
    order = sorted(sources, key=lambda name: (-sources[name], name))
    names = order if len(order) <= len(COLOURS) else order[: len(COLOURS) - 1]
    found: dict[str, dict[str, int]] = {}
    for row in left:
        name = row["source"] if row["source"] in names else "others"
        bar = found.setdefault(f"{row['reason']} ({row['stage']})", {})
        bar[name or "no source"] = bar.get(name or "no source", 0) + row["rows"]
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))


# ------------------------------------------------------------------ kinds of plots


def _histogram(title: str, counted: Mapping[str, Any], *, ticks: Sequence[float], mark: float | None = None) -> str:
    """Counts between edges, which are equally far apart as they stand; several series stand side by side."""
    edges = counted["edges"]
    series = {name: counts for name, counts in counted.items() if name != "edges" and any(counts)}
    top = max((max(counts) for counts in series.values()), default=0)
    if not top:
        return ""
    steps = _steps(top)
    slot = (WIDTH - MARGIN - RIGHT) / (len(edges) - 1)
    wide = (slot - 2) / len(series)
    drawn = list(_grid(steps))
    for place, (colour, counts) in enumerate(zip(COLOURS, series.values(), strict=False)):
        for number, count in enumerate(counts):
            tall = count / steps[-1] * PLOT
            drawn.append(
                box(colour, MARGIN + number * slot + 1 + place * wide, TOP + PLOT - tall, wide, tall, f"{count}")
            )
    for tick in ticks:
        drawn.append(text(_place(tick, edges, slot), TOP + PLOT + 18, short(tick), "middle", "soft"))
    if mark is not None:
        x = _place(mark, edges, slot)
        drawn.append(
            f'<path class="mark" d="M{x:.1f} {TOP}V{TOP + PLOT}"/>{text(x, TOP - 5, f"gate {mark:g}", "middle", "soft")}'
        )
    return svg(title, TOP + PLOT + FOOT, drawn, list(series))


def _place(value: float, edges: Sequence[float], slot: float) -> float:
    """Where a value lies: between its edges in proportion."""
    for number, (low, high) in enumerate(pairwise(edges)):
        if value <= high or number == len(edges) - 2:
            return MARGIN + (number + min(1.0, max(0.0, (value - low) / (high - low)))) * slot
    return MARGIN


def _grid(steps: Sequence[int]) -> Iterator[str]:
    for step in steps:
        y = TOP + PLOT - step / steps[-1] * PLOT
        yield f'<path class="grid" d="M{MARGIN} {y:.1f}H{WIDTH - RIGHT}"/>{text(MARGIN - 8, y + 4, short(step), "end", "soft")}'


def _bars(title: str, bars: Mapping[str, Mapping[str, int]]) -> str:
    """One line a name, its parts one behind the other, the sum at its end; the longest first."""
    shown = dict(list(bars.items())[:MOST_BARS])
    sums = {name: sum(parts.values()) for name, parts in shown.items()}
    if not any(sums.values()):
        return ""
    names = list(dict.fromkeys(part for parts in shown.values() for part in parts))
    scale = (WIDTH - LABEL - NOTE) / max(sums.values())
    drawn = []
    for number, (name, parts) in enumerate(shown.items()):
        y, at = TOP + LINE * number, float(LABEL)
        drawn.append(text(LABEL - 10, y + 14, _cut(name), "end", ""))
        for part in names:
            wide = parts.get(part, 0) * scale
            drawn.append(
                box(
                    COLOURS[names.index(part) % len(COLOURS)],
                    at,
                    y + 2,
                    wide,
                    LINE - 7,
                    f"{part}: {parts.get(part, 0)}",
                )
            )
            at += wide
        drawn.append(text(at + 6, y + 14, f"{sums[name]}", "start", "soft"))
    more = len(bars) - len(shown)
    foot = TOP + LINE * len(shown) + 16
    if more:
        drawn.append(text(LABEL, foot, f"and {more} more", "start", "soft"))
    return svg(title, foot + 12, drawn, names)


def _trend(title: str, trend: Sequence[Mapping[str, Any]]) -> str:
    """A point a version; nothing where no version has a row of ours."""
    shares = [(point["version"], point["share"] or 0.0) for point in trend]
    if len(shares) < 2 or not any(share for _, share in shares):
        return ""
    step = (WIDTH - MARGIN - RIGHT) / (len(shares) - 1)
    places = [(MARGIN + number * step, TOP + PLOT * (1 - share)) for number, (_, share) in enumerate(shares)]
    drawn = []
    for tick in (0, 25, 50, 75, 100):
        y = TOP + PLOT * (1 - tick / 100)
        drawn.append(
            f'<path class="grid" d="M{MARGIN} {y:.1f}H{WIDTH - RIGHT}"/>{text(MARGIN - 8, y + 4, f"{tick} %", "end", "soft")}'
        )
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    drawn.append(f'<path class="way" d="M{way}"/>')
    drawn += [f'<circle class="a" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(v)}: {100 * s:.1f} %</title></circle>'
              for (x, y), (v, s) in zip(places, shares, strict=True)]  # fmt: skip
    drawn.append(text(MARGIN, TOP + PLOT + 20, shares[0][0], "start", "soft"))
    drawn.append(text(WIDTH - RIGHT, TOP + PLOT + 20, shares[-1][0], "end", "soft"))
    return svg(title, TOP + PLOT + FOOT, drawn, [])


# ------------------------------------------------------------------ parts


def escape(text: str) -> str:
    """As XML holds it: what an event may carry and XML may not, control characters, are blanks."""
    return as_xml("".join(char if char.isprintable() else " " for char in text))


def svg(title: str, height: int, content: Sequence[str], series: Sequence[str]) -> str:
    key, x = [], float(MARGIN)
    for number, name in enumerate(series if len(series) > 1 else ()):
        key.append(box(COLOURS[number % len(COLOURS)], x, 33, 10, 10, name) + text(x + 15, 42, name, "start", "soft"))
        x += 32 + 7 * len(name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>'
        f'<text class="title" x="{MARGIN}" y="24">{escape(title)}</text>{"".join(key)}{"".join(content)}</svg>\n'
    )


def box(colour: str, x: float, y: float, wide: float, tall: float, title: str) -> str:
    if wide <= 0 or tall <= 0:
        return ""
    return (
        f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )


def text(x: float, y: float, words: str, anchor: str, colour: str) -> str:
    said = f' class="{colour}"' if colour else ""
    return f'<text{said} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _steps(top: int) -> list[int]:
    """Round numbers from 0 to the first that is not below `top`, five or so."""
    step = next(unit * 10**power for power in range(12) for unit in (1, 2, 5) if top / (unit * 10**power) <= 5)
    return list(range(0, -(-top // step) * step + 1, step))


def short(value: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _cut(text: str) -> str:
    return text if len(text) <= 32 else text[:31] + "…"
