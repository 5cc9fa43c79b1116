"""report.html of an audit: self-contained, no script, light and dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from l07.pipeline.audit.plots import Bar, bars, histogram, interval

STYLE = """
:root{--ink:#1d2024;--soft:#667078;--paper:#fff;--line:#dfe3e6;--good:#2f7d4f;--bad:#b4342c;--dim:#b9bfc4;--mark:#8a6100;--blue:#3f6fae}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--soft:#98a1a8;--paper:#15181b;--line:#30363b;--good:#58b07c;--bad:#e06c62;--dim:#555d64;--mark:#d6a63f;--blue:#7da7dc}}
body{font:15px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1.2rem;color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.4rem 0 .5rem}p{margin:.4rem 0}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:.28rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft)}td.n,th.n{text-align:right;white-space:nowrap}tr.all td{font-weight:600}div.wide{overflow-x:auto}
b.met{color:var(--good)}b.near{color:var(--mark)}b.missed{color:var(--bad)}
svg{width:100%;height:auto;font-size:12.5px}svg text{fill:var(--ink)}svg .note{fill:var(--soft)}
.caught,.key-caught{fill:var(--good);background:var(--good)}.missed-part,.key-missed{fill:var(--bad);background:var(--bad)}
.aside,.key-aside{fill:var(--dim);background:var(--dim)}.before{fill:var(--dim)}.key-before{background:var(--dim)}.left{fill:var(--bad)}.key-left{background:var(--bad)}
.lost{fill:var(--bad)}.clean{fill:var(--blue)}.key-clean{background:var(--blue)}.planted{fill:var(--bad)}.key-planted{background:var(--bad)}
.whisker{stroke:var(--ink);stroke-width:1.4;fill:none}.grid{stroke:var(--line);fill:none}.limit{stroke:var(--mark);stroke-dasharray:4 3;stroke-width:1.5}
span.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;border-radius:2px}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft)}
"""


def as_page(report: Mapping[str, Any]) -> str:
    """The whole report; nothing of a run but its id stands in it."""
    parts = [
        _head(report),
        _section("Goals", _goals(report["goals"])),
        _section(
            "What is learnt from",
            _left(report["left"]),
            "Share of spoiled runs before the filter and in the splits; dashed: the goal.",
        ),
        _section("Caught and missed, by kind and source", _faults(report["faults"], by_source=True), _KEY),
        _section(
            "Caught and missed, by fault", _faults(report["faults"], by_source=False), _KEY + " Over all sources."
        ),
        _section("Clean runs that were lost", _clean(report["clean"]), _CLEAN),
        _section("What each stage took away, and whether it was right", _right(report["stages"]), _RIGHT),
        _section("Scores of the stages", _scores(report.get("scores") or {}), _SCORES),
        _section("Secrets and personal data", _spills(report["spills"]), _SPILLS),
        _section("Clean rows in which something was replaced", _altered(report["alarms"]), _ALTERED),
        _section("Repeats and twins", _pairs(_plain(report["leaks"])) + _copies(report["pairs"])),
        _section("Versions that were built", _versions(report)),
        _section("How to read this", _NOTES),
        _planted(report["planted"]),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
    return f'<!doctype html><html lang="en"><head>{head}<title>Audit</title><style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def _key(name: str, text: str) -> str:
    return f'<span class="key key-{name}"></span>{text}'


_KEY = (
    _key("caught", "caught: the filter said something against it")
    + _key("aside", "aside: in no split, but nobody saw the fault (a duplicate, a cap)")
    + _key("missed", "missed: in a split (of what should stay: lost). Whiskers: its 95 % interval.")
)
_CLEAN = (
    "Untouched runs that pass the gates. "
    + _key("missed", "lost: the filter said something against it")
    + _key("aside", "aside: a duplicate, a conflict of splits, a cap")
)
_RIGHT = (
    "Share of the runs that a stage removed which had a planted fault or a label that calls them spoiled. Whiskers: its 95 % interval. "
    "What nobody planted or labelled counts as a false alarm, though some of it is bad: the true share is at least this. It falls with "
    "the rate at which was planted: compare audits of equal rates. A run counts for each stage that spoke against it."
)
_SCORES = _key("clean", "clean") + _key(
    "planted", "planted (of the kinds that should go). A stage that measures only some runs is compared on those."
)
_SPILLS = "Share of the planted values that are nowhere in the dataset's files. Whiskers: 95 %; dashed: the goal, 99 %."
_ALTERED = "Some of them hold a true secret or a true address: only a person can tell which were false alarms."
_NOTES = """<p>Each plant takes the place of a run that passed the gates (a wrong score: of one that did not); twins, leaks and repeats are
added beside their originals. Runs get one plant at most. Intervals are Wilson's, 95 %; they count runs as independent, and runs of one
task are not, so the true uncertainty is somewhat larger. The planters are this program's own: figures on faults that it did not think of
are not in here. Where no labels were given, faults that the data had before count as clean.</p>"""


def _head(report: Mapping[str, Any]) -> str:
    given = report["input"]
    half = f", half {escape(str(report['half']))} of the tasks" if report["half"] else ""
    of = ", ".join(escape(str(name)) for name in report.get("of", ()))
    rates = ", ".join(f"{escape(name)} {rate:g}" for name, rate in report["rates"].items()) or "nothing"
    return (
        f"<h1>Audit of {of or 'runs'}</h1><p>{given['runs']} runs{half}, {len(report['planted'])} planted or labelled.</p>"
        f'<p class="soft">Planted: {rates}; seed {report["seed"]}; {report["labelled"]} labels; {report["seconds"]} s.</p>'
    )


def _section(title: str, content: str, lead: str = "") -> str:
    return f"<h2>{escape(title)}</h2>{f'<p class=soft>{lead}</p>' if lead else ''}{content}" if content else ""


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for goal in goals:
        word, text = (
            ("met", "met")
            if goal["sure"]
            else ("near", "met, but the interval crosses it")
            if goal["met"]
            else ("missed", "missed")
        )
        value, limit = goal["value"], goal["limit"]
        shown = _percent(value) if isinstance(value, Mapping) else str(value)
        edge = f"{100 * limit:g} %" if isinstance(value, Mapping) else f"{limit:g}"
        lines.append([escape(goal["goal"]), escape(goal["kind"]), shown, edge, f'<b class="{word}">{text}</b>'])
    return _table(["goal", "about", "measured", "limit", ""], lines)


def _left(lines: Sequence[Mapping[str, Any]]) -> str:
    most = max((max(line["before"]["high"], line["left"]["high"]) for line in lines), default=0.0)
    limits = {"noise": 0.05, "hijack": 0.01}
    out = []
    for kind in dict.fromkeys(line["kind"] for line in lines):
        drawn = []
        for line in (line for line in lines if line["kind"] == kind):
            for name in ("before", "left"):
                value = line[name]
                label = f"{line['source']}, {name}"
                drawn.append(
                    Bar(label, [(name, value["share"] or 0.0)], interval(value), _short(value), line["source"] == "all")
                )
        limit = limits.get(kind.removeprefix("real "))
        out.append(f"<p><b>{escape(kind)}</b></p>" + bars(drawn, limit=limit, most=min(1.0, max(0.06, most * 1.05))))
    return "".join(out)


def _faults(lines: Sequence[Mapping[str, Any]], *, by_source: bool) -> str:
    """By source: a bar a kind and source. Else a bar a single fault over all sources (or the only one)."""
    shown = (
        [line for line in lines if not line["fault"]]
        if by_source
        else _whole([line for line in lines if line["fault"]])
    )
    drawn = [_fate(line, by_source=by_source) for line in shown]
    table = _table(
        ["kind", "fault", "source", "planted", "caught", "aside", "missed", "caught by"],
        [
            [escape(line["kind"]), escape(line["fault"]), escape(line["source"]), str(line["planted"]), _percent(line["caught"]),
             _percent(line["aside"]), _percent(line["missed"]), _reasons(line["why"])]
            for line in (shown if by_source else [line for line in lines if line["fault"]])
        ],
    )  # fmt: skip
    return bars(drawn) + f"<details><summary>as a table</summary>{table}</details>" if drawn else ""


def _fate(line: Mapping[str, Any], *, by_source: bool) -> Bar:
    """What should have gone from left to right: caught, aside, missed; of a sound plant kept, aside, lost."""
    label = f"{line['kind']}, {line['source']}" if by_source else str(line["fault"])
    good, bad = ("missed", "caught") if line["sound"] else ("caught", "missed")
    parts = [("caught", good), ("aside", "aside"), ("missed-part", bad)]
    drawn = [(css, line[name]["share"] or 0.0) for css, name in parts]
    whole = by_source and line["source"] == "all"
    sound = " (should stay)" if line["sound"] else ""
    return Bar(label + sound, drawn, _from_right(line[bad]), _short(line[bad]), whole)


def _whole(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    whole = [line for line in lines if line["source"] == "all"]
    return whole or list(lines)


def _from_right(value: Mapping[str, Any]) -> tuple[float, float] | None:
    """The missed part ends at the right, so its interval is measured from there."""
    return None if value["share"] is None else (1 - value["high"], 1 - value["low"])


def _clean(lines: Sequence[Mapping[str, Any]]) -> str:
    most = max((line["lost"]["high"] + line["aside"]["high"] for line in lines), default=0.0)
    drawn = [
        Bar(line["source"], [("lost", line["lost"]["share"] or 0.0), ("aside", line["aside"]["share"] or 0.0)],
            interval(line["lost"]), _short(line["lost"]), line["source"] == "all")
        for line in lines
    ]  # fmt: skip
    table = _table(
        ["source", "passed the gates", "kept", "lost", "aside", "why lost", "why aside"],
        [
            [escape(line["source"]), str(line["passed"]), _percent(line["kept"]), _percent(line["lost"]), _percent(line["aside"]),
             _reasons(line["why_lost"]), _reasons(line["why_aside"])]
            for line in lines
        ],
    )  # fmt: skip
    return bars(drawn, limit=0.10, most=min(1.0, max(0.12, most * 1.05))) + table


def _right(lines: Sequence[Mapping[str, Any]]) -> str:
    drawn = [
        Bar(line["stage"], [("caught", line["right"]["share"] or 0.0)], interval(line["right"]), _short(line["right"]))
        for line in _over_all(lines)
    ]
    table = _table(
        ["stage", "source", "right", "what they were"],
        [
            [escape(line["stage"]), escape(line["source"]), _percent(line["right"]), _reasons(line["of"])]
            for line in lines
        ],
    )
    return bars(drawn) + f"<details><summary>by source</summary>{table}</details>" if drawn else ""


def _over_all(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each stage the line over all sources, or its only one."""
    several = {line["stage"] for line in lines if line["source"] == "all"}
    return [line for line in lines if line["source"] == "all" or line["stage"] not in several]


def _scores(scores: Mapping[str, Any]) -> str:
    out = []
    for name, found in scores.items():
        series = {"clean": found["clean"], "planted": found["planted"]}
        aurocs = ", ".join(f"{escape(kind)} {value:.2f}" for kind, value in found["auroc"].items() if value is not None)
        out.append(
            f"<p><b>{escape(name)}</b> <span class=soft>AUROC against clean: {aurocs or 'nothing planted'}</span></p>"
        )
        out.append(histogram(series, low=found["low"], high=found["high"]))
    return "".join(out)


def _spills(found: Mapping[str, Any]) -> str:
    lines = [
        (line.get("name") or line["source"], line["found"], what != "kinds")
        for what in ("classes", "places", "sources", "kinds")
        for line in found.get(what, ())
    ]
    shown = [line for line in lines if line[2] or line[1]["count"] < line[1]["n"]]
    drawn = [Bar(name, [("caught", value["share"] or 0.0)], interval(value), _short(value)) for name, value, _ in shown]
    table = _table(["", "found"], [[escape(name), _percent(value)] for name, value, _ in lines])
    return bars(drawn, limit=0.99) + f"<details><summary>every kind</summary>{table}</details>" if drawn else ""


def _altered(lines: Sequence[Mapping[str, Any]]) -> str:
    shown = [[escape(line["source"]), _percent(line["altered"]), _reasons(line["kinds"])] for line in lines]
    return _table(["source", "altered", "rows by kind"], shown)


def _copies(pairs: Sequence[Mapping[str, Any]]) -> str:
    names = ("kind", "source", "planted", "both_kept", "apart", "near_and_apart")
    columns = ["planted copies", "source", "planted", "both kept", "in other splits", "near twins in other splits"]
    return _table(columns, [[escape(str(pair[name])) for name in names] for pair in pairs])


def _plain(leaks: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in leaks.items() if not isinstance(value, list | dict)}


def _versions(report: Mapping[str, Any]) -> str:
    splits = ("train", "validation", "test")
    lines = [
        [escape(v["id"]), *(str(v["splits"].get(name, 0)) for name in splits), str(v["added"]), str(v["removed"]), _reasons(v["counts"])]
        for v in report["versions"]
    ]  # fmt: skip
    waits = "".join(
        f"<p>The last batch of {escape(r['track'])} waits: {escape(r['message'])}</p>" for r in report["refused"]
    )
    return waits + _table(["version", "train", "validation", "test", "added", "removed", "counts"], lines)


def _planted(planted: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [escape(str(line[name])) for name in ("key", "source", "fault", "what", "fate", "table")]
        + [escape(", ".join(line["reasons"]))]
        for line in planted
    ]
    if not lines:
        return ""
    table = _table(["run", "source", "fault", "what was done", "fate", "table", "reasons"], lines)
    return f"<h2>Every plant</h2><details><summary>{len(lines)} runs</summary>{table}</details>"


def _pairs(pairs: Mapping[str, Any]) -> str:
    return _table(["", ""], [[escape(name), escape(str(value))] for name, value in pairs.items()])


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr"
        + (' class="all"' if "all" in line[:3] else "")
        + ">"
        + "".join(f"<td>{cell}</td>" for cell in line)
        + "</tr>"
        for line in lines
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>' if body else ""


def _percent(value: Mapping[str, Any]) -> str:
    if value["share"] is None:
        return "–"
    return f"{100 * value['share']:.1f} % <span class=soft>[{100 * value['low']:.1f}, {100 * value['high']:.1f}] {value['count']}/{value['n']}</span>"


def _short(value: Mapping[str, Any]) -> str:
    return "nothing" if value["share"] is None else f"{100 * value['share']:.1f} %  ({value['count']}/{value['n']})"


def _reasons(reasons: Mapping[str, int]) -> str:
    return escape(", ".join(f"{name} {count}" for name, count in reasons.items()))
