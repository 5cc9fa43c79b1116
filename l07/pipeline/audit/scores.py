"""What the stages measured, of clean runs and of planted ones: histograms, and how well each score tells them apart."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from l07.pipeline.audit.figures import APART, POISON, Fact

STEPS = 24


def scores(facts: Sequence[Fact]) -> dict[str, Any]:
    """By the stage's name for it: shares of the clean and of the planted runs in equal steps, and the AUROC of each kind
    of fault against the clean runs that passed the gates (0.5: no telling; below: the other way round)."""
    clean: dict[str, list[float]] = defaultdict(list)
    planted: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts:
        for name, value in fact.scores.items() if fact.passed and fact.kind not in APART else ():
            (planted[name][fact.fault] if fact.kind else clean[name]).append(value)
            if fact.kind in POISON or fact.real:
                planted[name][f"all {fact.kind}"].append(value)
    return {name: _of(clean[name], planted[name]) for name in sorted({*clean, *planted})}


def _of(clean: Sequence[float], planted: dict[str, list[float]]) -> dict[str, Any]:
    bad = [value for kind, values in planted.items() if kind.startswith("all ") for value in values]
    everything = sorted([*clean, *bad])
    low, high = (everything[0], everything[-1]) if everything else (0.0, 0.0)
    return {
        "low": low,
        "high": high,
        "clean": _histogram(clean, low, high),
        "planted": _histogram(bad, low, high),
        "auroc": {kind: auroc(values, clean) for kind, values in sorted(planted.items())},
    }


def _histogram(values: Sequence[float], low: float, high: float) -> list[float]:
    counts = [0] * STEPS
    for value in values:
        counts[min(STEPS - 1, int((value - low) / ((high - low) or 1.0) * STEPS))] += 1
    return [count / len(values) if values else 0.0 for count in counts]


def auroc(bad: Sequence[float], good: Sequence[float]) -> float | None:
    """How often a bad run's score is above a good one's, ties half. Source: Mann and Whitney, 1947."""
    if not bad or not good:
        return None
    ranked = sorted([(value, True) for value in bad] + [(value, False) for value in good])
    total, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        total += sum(is_bad for _, is_bad in ranked[at:end]) * (at + end + 1) / 2
        at = end
    return round((total - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good)), 4)
