"""The verdict as a page and as data: what was compared with what, every interval and limit, in files of their own."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from l07.domain.canary import exposure
from l07.domain.measurements import Measurements
from l07.domain.statistics import wilson
from l07.domain.verdict import Check, Verdict, as_data

WIDTH, LEFT, RIGHT, LINE = 760, 250, 30, 26  # of a plot, pixels
COLOURS: Mapping[str, str] = {"PASS": "#2a7f3f", "FAIL": "#b3261e", "INCONCLUSIVE": "#9a6700"}
DECISIONS: Mapping[str, str] = {"DEPLOY": COLOURS["PASS"], "REJECT": COLOURS["FAIL"], "REVIEW": COLOURS["INCONCLUSIVE"]}
STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
td{vertical-align:top}b.v{color:#fff;padding:.2rem .6rem;border-radius:.3rem}svg{width:100%;height:auto}"""


def as_document(about: Mapping[str, Any], verdict: Verdict, measured: Measurements | None) -> dict[str, Any]:
    """report.json: the verdict, every check of every stage, and what was asked and skipped."""
    return {
        **about,
        "verdict": verdict.decision,
        "reasons": list(verdict.reasons),
        "stages": [{**as_data(stage), "checks": [asdict(check) for check in stage.checks]} for stage in verdict.stages],
        "exact_calls": _exact_calls(measured) if measured else None,
        "skipped": _skipped(measured) if measured else None,
        "seconds": dict(measured.seconds) if measured else None,
    }


def as_page(
    about: Mapping[str, Any], verdict: Verdict, measured: Measurements | None, curves: Mapping[str, str] | None = None
) -> str:
    """report.html: self-contained, no script. `curves`: SVGs of the training, by file name."""
    title = f"{about['model']} {about['version']}: {verdict.decision}"
    checks = [check for stage in verdict.stages for check in stage.checks]
    shares = [check for check in checks if check.interval and check.unit == "task groups" and _is_share(check)]
    ratios = [check for check in checks if check.interval and not _is_share(check)]
    parts = [
        f"<h1>{escape(str(about['model']))} {escape(str(about['version']))} "
        f'<b class="v" style="background:{DECISIONS[verdict.decision]}">{verdict.decision}</b></h1>',
        f"<p>Compared with {escape(str(about['baseline']))}.</p>",
        _list(verdict.reasons),
        _table(verdict),
        _section("Difference to the baseline, 95 % intervals (1 = all calls)", _forest(shares)),
        _section("Ratio to the baseline, 95 % intervals", _forest(ratios)),
        _section("Exposure of planted canaries, bits", _bars(_bits(measured))),
        _section("Training, as it went", _pictures(curves or {})),
        _section("What was compared", _pairs(about)),
        _section("Exact calls, 95 % intervals", _pairs(_exact_calls(measured)) if measured else ""),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _is_share(check: Check) -> bool:
    return check.threshold is not None and check.threshold < 1.0


def _exact_calls(measured: Measurements) -> dict[str, str]:
    out = {}
    for name in ("golden", "test"):
        calls = [call for row in measured.rows if row.set == name for call in row.calls]
        out[f"{name}, candidate"] = _share([call.candidate.exact for call in calls])
        if measured.has_baseline:
            out[f"{name}, baseline"] = _share([call.baseline.exact for call in calls if call.baseline])
    return out


def _share(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits)} of {len(hits)} [{low:.3f}, {high:.3f}]"


def _skipped(measured: Measurements) -> dict[str, int]:
    skipped = measured.skipped
    return {
        "rows_beyond_limit": skipped.rows_beyond_limit,
        "rows_without_calls": skipped.rows_without_calls,
        "calls_too_long": skipped.calls_too_long,
    }


# ------------------------------------------------------------------ page


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else "<p>Every stage passed.</p>"


def _pictures(curves: Mapping[str, str]) -> str:
    """As images: a picture's own style does not reach the page."""
    return "".join(
        f'<img alt="{escape(name.removesuffix(".svg"))}" style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}">'
        for name, drawn in sorted(curves.items(), key=lambda item: (not item[0].startswith("loss"), item[0]))
    )


def _pairs(pairs: Mapping[str, Any]) -> str:
    lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in pairs.items())
    return f"<table>{lines}</table>"


def _table(verdict: Verdict) -> str:
    lines = [
        f"<tr><td>{stage.name}</td><td>{escape(check.name)}</td>"
        f'<td style="color:{COLOURS[check.status]}">{check.status}</td><td>{check.n}</td>'
        f"<td>{escape(check.detail)}{_needed(check)}</td><td>{escape(check.test)}</td></tr>"
        for stage in verdict.stages
        for check in stage.checks
    ]
    head = "<tr><th>stage</th><th>check</th><th>result</th><th>n</th><th>measured</th><th>test</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def _needed(check: Check) -> str:
    return f"; needs {check.needed_n} {escape(check.unit)}" if check.needed_n else ""


def _forest(checks: Sequence[Check]) -> str:
    """One line a check: its interval, its estimate, its limit (dashed)."""
    if not checks:
        return ""
    reach = [value for check in checks for value in (*(check.interval or ()), check.threshold or 0.0)]
    low, high = min(reach), max(reach)
    scale = (WIDTH - LEFT - RIGHT) / ((high - low) or 1.0)
    lines = [_mark(check, 14 + LINE * number, low, scale) for number, check in enumerate(checks)]
    return _svg(len(checks), "".join(lines))


def _mark(check: Check, y: int, low: float, scale: float) -> str:
    def at(value: float | None) -> float:
        return round(LEFT + ((value or 0.0) - low) * scale, 1)

    left, right = check.interval or (0.0, 0.0)
    colour = COLOURS[check.status]
    return (
        f'<text x="{LEFT - 12}" y="{y + 5}" text-anchor="end" font-size="13">{escape(check.name)}</text>'
        f'<line x1="{at(left)}" x2="{at(right)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{at(check.estimate)}" cy="{y}" r="4.5" fill="{colour}">'
        f"<title>{escape(check.detail)}</title></circle>"
        f'<line x1="{at(check.threshold)}" x2="{at(check.threshold)}" y1="{y - 11}" y2="{y + 11}" '
        'stroke="#555" stroke-dasharray="3 3"/>'
    )


def _bits(measured: Measurements | None) -> list[tuple[str, float]]:
    known = measured.canaries if measured else None
    return [(canary.owner, exposure(canary.own, canary.others).bits) for canary in known or ()]


def _bars(values: Sequence[tuple[str, float]]) -> str:
    if not values:
        return ""
    scale = (WIDTH - LEFT - RIGHT - 40) / max(10.0, *(value for _, value in values))
    lines = [
        f'<text x="{LEFT - 12}" y="{19 + LINE * number}" text-anchor="end" font-size="13">{escape(name)}</text>'
        f'<rect x="{LEFT}" y="{6 + LINE * number}" height="16" width="{max(1.0, value * scale):.1f}" fill="#4a6fa5"/>'
        f'<text x="{LEFT + value * scale + 6:.1f}" y="{19 + LINE * number}" font-size="13">{value:.1f}</text>'
        for number, (name, value) in enumerate(values)
    ]
    return _svg(len(values), "".join(lines))


def _svg(lines: int, content: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {lines * LINE + 8}" role="img">{content}</svg>'
