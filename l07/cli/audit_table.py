"""An audit as text: the goals first, then what they are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from l07.cli.console import Console


def show(report: Mapping[str, Any], console: Console, *, out: str | None) -> None:
    """Every figure that people decide by; the rest stands in the page and in --json."""
    _head(report, console)
    goals = [[g["goal"], g["kind"], _value(g["value"]), g["limit"], _met(g)] for g in report["goals"]]
    console.table(["goal", "about", "measured [95 %]", "limit", ""], goals, title="\ngoals")
    clean = [
        [c["source"], c["passed"], percent(c["kept"]), percent(c["lost"]), percent(c["aside"]), _most(c["why_lost"]), _most(c["why_aside"])]
        for c in report["clean"]
    ]  # fmt: skip
    console.table(
        ["source", "clean", "kept", "lost", "aside", "why lost", "why aside"],
        clean,
        title="\nclean runs that pass the gates",
    )
    left = [[f["kind"], f["source"], percent(f["before"]), percent(f["left"])] for f in report["left"]]
    console.table(["kind", "source", "before", "left in the splits"], left, title="\nwhat is learnt from")
    faults = [_fault(line) for line in report["faults"] if not line["fault"] or line["source"] == "all"]
    columns = ["fault", "source", "planted", "caught", "aside", "missed", "by"]
    console.table(columns, faults, title="\nplanted faults")
    stages = [[s["stage"], s["source"], percent(s["right"]), _most(s["of"])] for s in report["stages"]]
    console.table(["stage", "source", "removed rightly", "what they were"], stages, title="\nwhat the stages removed")
    _spills(report, console)
    columns = ["kind", "source", "planted", "both kept", "apart", "near and apart"]
    names = ("kind", "source", "planted", "both_kept", "apart", "near_and_apart")
    console.table(columns, [[pair[name] for name in names] for pair in report["pairs"]], title="\nplanted copies")
    console.line()
    console.line(
        f"the page: {out}/report.html"
        if out
        else "--out DIR writes the page with its plots, and the whole report as JSON"
    )


def _fault(line: Mapping[str, Any]) -> list[object]:
    name = line["fault"] or line["kind"] + (" (should stay)" if line["sound"] else "")
    shares = [percent(line[fate]) for fate in ("caught", "aside", "missed")]
    return [name, line["source"], line["planted"], *shares, _most(line["why"])]


def _spills(report: Mapping[str, Any], console: Console) -> None:
    found = report["spills"]
    lines = [(what, line) for what in ("classes", "places", "sources") for line in found.get(what, ())]
    told = [[line.get("name") or line.get("source"), percent(line["found"]), line["quarantined"]] for _, line in lines]
    console.table(["planted values", "nowhere in the files", "quarantined"], told, title="\nsecrets and personal data")
    missed = [[k["name"], percent(k["found"])] for k in found.get("kinds", ()) if k["found"]["count"] < k["found"]["n"]]
    console.table(["kind that was missed", "found"], missed)
    altered = [[line["source"], percent(line["altered"]), _most(line["kinds"], 6)] for line in report["alarms"]]
    console.table(
        ["source", "clean rows altered", "rows by kind"], altered, title="\nclean rows in which something was replaced"
    )


def _head(report: Mapping[str, Any], console: Console) -> None:
    given, planted = report["input"], len(report["planted"])
    half = f", half {report['half']} of the tasks" if report["half"] else ""
    console.line(f"{given['runs']} runs{half}, {planted} planted (seed {report['seed']}), {report['seconds']} s")
    if beside := told({name: count for name, count in given.items() if name != "runs"}):
        console.line(f"of the input besides: {beside}")
    for version in report["versions"][-1:]:
        console.line(f"{len(report['versions'])} versions, the last {version['id']}: {version['splits']}")
    if contradicted := told(report["contradicted"]):
        console.line(f"second scores before the seal: {contradicted}")
    for refused in report["refused"]:
        console.line(
            f"the last batch of {refused['track']} waits: {refused['code']} {refused['message']}".replace("  ", " ")
        )


def told(counts: Mapping[str, int]) -> str:
    """`waiting 115, unreadable 2`: what is not 0."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or ""


def percent(value: Mapping[str, Any]) -> str:
    """`12.0 % [9.1, 15.2] of 340`; "-" of nothing."""
    if value["share"] is None:
        return "-"
    return f"{100 * value['share']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}] of {value['n']}"


def _value(value: Any) -> str:
    return percent(value) if isinstance(value, Mapping) else str(value)


def _met(goal: Mapping[str, Any]) -> str:
    return "met" if goal["sure"] else "met, within the interval" if goal["met"] else "missed"


def _most(reasons: Mapping[str, int], count: int = 3) -> str:
    shown: Sequence[tuple[str, int]] = list(reasons.items())[:count]
    return ", ".join(f"{name} {number}" for name, number in shown)
