"""Counts and intervals of an audit: what was caught, missed and lost, by kind of fault and by source. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from l07.domain.dataset.members import SPLITS
from l07.domain.statistics import wilson

ALL = "all"
SOUND = frozenset({"resisted", "outvoted"})  # plants that should stay: losing one is a loss
ADDED = frozenset({"twins", "leak", "repeats"})  # counted in pairs, see leaks.py
APART = ADDED | {"secrets"}  # counted by their values, see spills.py
POISON = frozenset({"noise", "hijack", "late", "conflict"})  # kinds of which a share of the splits is told

Fate = Literal["kept", "judged", "aside", "waiting"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One run, and what became of it."""

    key: str
    source: str
    passed: bool  # both gates; of two scores before the seal: by the one that was there without the plant
    kind: str = ""  # of the fault in it, "" in what was not touched
    fault: str = ""
    of: str = ""  # the run that the plant was made of
    what: str = ""
    decision: str = ""
    table: str = ""
    reasons: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    built: bool = True  # a version knows it
    real: bool = False  # the fault was there before; a label says so

    @property
    def fate(self) -> Fate:
        """kept: in a split. judged: the filter said something against it. aside: nothing against it, and it is in no
        split all the same (a duplicate, a conflict of splits, a cap)."""
        if not self.built:
            return "waiting"
        if self.table in SPLITS:
            return "kept"
        return "aside" if self.decision == "ACCEPT" else "judged"


def share(count: int, n: int) -> dict[str, Any]:
    """`count` of `n` with its 95 % interval (Wilson); of nothing there is no share."""
    low, high = wilson(count, n)
    return {"count": count, "n": n, "share": count / n if n else None, "low": round(low, 9), "high": round(high, 9)}


def figures(facts: Sequence[Fact]) -> dict[str, Any]:
    """Everything that follows from the fates alone."""
    return {
        "sources": by_source(facts, _source),
        "clean": by_source([fact for fact in facts if not fact.kind and fact.passed], _clean),
        "faults": _faults(facts),
        "left": [line for kind in _spoiling(facts) for line in _left(facts, kind)],
    }


def _spoiling(facts: Iterable[Fact]) -> list[str]:
    return sorted({fact.kind for fact in facts if fact.kind in POISON or fact.real})


def by_source(facts: Sequence[Fact], tell: Callable[[Sequence[Fact]], dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a source, and one for all when there are several."""
    names = sorted({fact.source for fact in facts})
    lines = [{"source": name, **tell([fact for fact in facts if fact.source == name])} for name in names]
    return [*lines, {"source": ALL, **tell(facts)}] if len(names) > 1 else lines


def _source(facts: Sequence[Fact]) -> dict[str, Any]:
    return {
        "runs": len(facts),
        "passed": sum(fact.passed for fact in facts),
        "planted": sum(bool(fact.kind) for fact in facts),
        "in_splits": sum(fact.fate == "kept" for fact in facts),
        "waiting": sum(fact.fate == "waiting" for fact in facts),
    }


def _clean(facts: Sequence[Fact]) -> dict[str, Any]:
    """Of the untouched runs that pass the gates: kept, lost because something was said against them, set aside."""
    fates = Counter(fact.fate for fact in facts)
    n = len(facts) - fates["waiting"]
    return {
        "passed": n,
        "kept": share(fates["kept"], n),
        "lost": share(fates["judged"], n),
        "aside": share(fates["aside"], n),
        "why_lost": _reasons(facts, "judged"),
        "why_aside": _reasons(facts, "aside"),
    }


def _faults(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """A line for each kind, and each of its faults where it has several, and source."""
    lines = []
    planted = [fact for fact in facts if fact.kind and fact.kind not in APART]
    for kind in dict.fromkeys(fact.kind for fact in planted):
        of_kind = [fact for fact in planted if fact.kind == kind]
        faults = dict.fromkeys(fact.fault for fact in of_kind)
        lines += [{"kind": kind, "fault": "", **line} for line in by_source(of_kind, _fault)]
        for fault in faults if len(faults) > 1 else ():
            of_fault = [fact for fact in of_kind if fact.fault == fault]
            lines += [{"kind": kind, "fault": fault, **line} for line in by_source(of_fault, _fault)]
    return lines


def _fault(facts: Sequence[Fact]) -> dict[str, Any]:
    """`caught`: the filter said something against it. What went aside is in no split either, but nobody saw the fault.
    `sound`: the plant should stay, so that `missed` is what was wanted."""
    fates = Counter(fact.fate for fact in facts)
    n = len(facts) - fates["waiting"]
    return {
        "planted": n,
        "sound": all(fact.kind in SOUND for fact in facts),
        "caught": share(fates["judged"], n),
        "aside": share(fates["aside"], n),
        "missed": share(fates["kept"], n),
        "why": _reasons(facts, "judged"),
    }


def _left(facts: Sequence[Fact], kind: str) -> list[dict[str, Any]]:
    """The kind's share of what is learnt from: planted rows in the splits, of these and the untouched ones."""
    kept = [fact for fact in facts if fact.fate == "kept" and fact.kind in (kind, "")]
    planted = [fact for fact in facts if fact.kind in (kind, "") and fact.passed and fact.fate != "waiting"]
    before = {line["source"]: line["share"] for line in by_source(planted, lambda f: {"share": _of_kind(f, kind)})}
    lines = by_source(kept, lambda f: {"left": _of_kind(f, kind)})
    return [{"kind": kind, "before": before[line["source"]], **line} for line in lines if line["source"] in before]


def _of_kind(facts: Iterable[Fact], kind: str) -> dict[str, Any]:
    counts = Counter(fact.kind == kind for fact in facts)
    return share(counts[True], counts.total())


def _reasons(facts: Iterable[Fact], fate: Fate) -> dict[str, int]:
    counts = Counter(reason for fact in facts if fact.fate == fate for reason in fact.reasons)
    return dict(counts.most_common())


@dataclass(frozen=True, slots=True)
class Goal:
    """What a filter should reach; `kind` says which plants it is about."""

    name: str
    kind: str
    limit: float
    least: bool = False  # the limit is the smallest value, not the largest


LEFT = (Goal("noise left in the splits", "noise", 0.05), Goal("hijacked runs left in the splits", "hijack", 0.01))
LOST = (Goal("clean runs lost, beside noise", "noise", 0.10), Goal("clean runs lost, beside hijacks", "hijack", 0.15))


def goals(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal that this audit can say something of, over all sources. `met`: the share itself; `sure`: its whole
    interval is on the good side."""
    lines = []
    for goal in LEFT:
        lines += [_judged(goal, line["left"], line["kind"]) for line in _over_all(report["left"], goal.kind)]
    about = {line["kind"] for line in report["left"]}
    for goal in LOST:
        if any(_is(kind, goal.kind) for kind in about):
            lines += [_judged(goal, line["lost"], goal.kind) for line in _over_all(report["clean"], "")]
    for line in (report.get("spills") or {}).get("classes", ()):
        if line["name"] in report["scrubbed"]:
            goal = Goal(f"{line['name']} values found", "secrets", 0.99, least=True)
            lines.append(_judged(goal, line["found"], "secrets"))
    leaks = report["leaks"]
    names = ["near_twins_across_splits", "exact_repeats", "tasks_in_two_splits"]
    for name in [*names, "golden_twins_in_train"] if leaks.get("golden_rows") else names:
        lines.append({"goal": name.replace("_", " "), "kind": "leaks", "value": leaks[name], "limit": 0,
                      "met": leaks[name] == 0, "sure": leaks[name] == 0})  # fmt: skip
    return lines


def _is(kind: str, wanted: str) -> bool:
    return kind in (wanted, f"real {wanted}")


def _over_all(lines: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The line over all sources, or the only one."""
    found = [line for line in lines if not kind or _is(line["kind"], kind)]
    whole = [line for line in found if line["source"] == ALL]
    return whole or found


def _judged(goal: Goal, value: Mapping[str, Any], kind: str) -> dict[str, Any]:
    part = value["share"]
    met = part is not None and (part >= goal.limit if goal.least else part <= goal.limit)
    sure = met and (value["low"] >= goal.limit if goal.least else value["high"] <= goal.limit)
    return {"goal": goal.name, "kind": kind, "value": value, "limit": goal.limit, "met": met, "sure": sure}
