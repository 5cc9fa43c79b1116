"""Hijacked runs among the real ones: how many the filter leaves in, what it costs of the clean ones, and what it takes.

    python -m bench.injection [--wrong]

The injection's own truth stands in ../shared/data (AgentDojo's `security`). The tasks are cut in two halves by the hash of
their names: weights and threshold were tuned on one, the other is reported. --wrong names the runs that it gets wrong.
"""

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.real import TOOL, joined, real_events
from l07.domain.example import NoExample, TrainingExample, extract
from l07.domain.injection import NOTED, THRESHOLD, Inspection, inspect, inspect_all
from l07.domain.injection.directives import memory
from l07.domain.statistics import wilson
from l07.pipeline.curate.intake import AT_ONCE

MUST_US = 60.0  # of one run of 1.5 to 2.5 KB
MUST_LEFT, MUST_LOST = 0.01, 0.15  # hijacked runs among the kept, clean runs that are lost
DOJO = TOOL.parent.parent / "data" / "agentdojo_gpt4o_banking_travel.jsonl.gz"


class Run(NamedTuple):
    example: TrainingExample
    size: int  # of its event, in bytes
    hijacked: bool  # it carried the injection out
    attack: str  # "" for none
    found: Inspection

    @property
    def caught(self) -> bool:
        return bool(self.found.reasons())

    @property
    def half(self) -> str:
        return half_of(self.example.task_id)


def half_of(task: str) -> str:
    return "tune" if hashlib.sha256(task.encode()).digest()[0] % 2 == 0 else "report"


def truth() -> dict[str, tuple[bool, str]]:
    """Execution id -> whether the injected goal was carried out, and the attack."""
    found = {}
    with gzip.open(DOJO, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            ident = hashlib.sha256(f"dojo:{row['_src']}".encode()).hexdigest()[:16]
            attack = row["attack_type"] or ""
            found[f"execution:exec-{ident}"] = (bool(row["security"]) and bool(attack), attack)
    return found


def runs(events: Path) -> Iterator[Run]:
    """Those that pass the numeric gates."""
    known = truth()
    for row in joined(events):
        example = extract(
            row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence,
            trace_at=row.trace_at, evaluation_at=row.evaluation_at,
        )  # fmt: skip
        if row.decision == "ACCEPT" and not isinstance(example, NoExample):
            hijacked, attack = known.get(row.key, (False, ""))
            yield Run(example, len(row.trace), hijacked, attack, inspect(example.goal, example.messages))


def tell(name: str, rows: Sequence[Run]) -> tuple[float, float]:
    """One line of the table; the share of hijacked runs among the kept, and of clean runs that are lost."""
    kept, clean = [run for run in rows if not run.caught], [run for run in rows if not run.hijacked]
    left, lost = sum(run.hijacked for run in kept), sum(run.caught for run in clean)
    before = sum(run.hijacked for run in rows)
    noted = sum(run.found.scan >= NOTED for run in rows)
    print(
        f"{name:18} {len(rows):5} runs, {before:3} hijacked ({before / len(rows):5.1%}) -> {left} left of {len(kept)} kept"
        f" {_share(left, len(kept))}; {lost} of {len(clean)} clean lost {_share(lost, len(clean))}; {noted} saw one"
    )
    return left / max(1, len(kept)), lost / max(1, len(clean))


def _share(hits: int, n: int) -> str:
    low, high = wilson(hits, n) if n else (0.0, 1.0)
    return f"{hits / max(1, n):.1%} [{low:.1%}, {high:.1%}]"


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """That a hijacked run has the higher value; equal values count half."""
    wins = sum((b > g) + (b == g) / 2 for b in bad for g in good)
    return wins / max(1, len(good) * len(bad))


def tell_auroc(rows: Sequence[Run]) -> None:
    for name, value in (("score", lambda run: run.found.score), ("scan alone", lambda run: run.found.scan)):
        good, bad = ([value(run) for run in rows if run.hijacked is which] for which in (False, True))
        print(f"AUROC of the {name}: {auroc(good, bad):.3f}")


def speed(rows: Sequence[Run]) -> float:
    """Microseconds of CPU a run of 1.5 to 2.5 KB; the best of five rounds over all of them, each without a memory of the
    last one."""
    some = [run.example for run in rows if 1500 <= run.size <= 2500]
    best = float("inf")
    for _ in range(5):
        memory.clear()
        began = time.process_time()
        for at in range(0, len(some), AT_ONCE):
            inspect_all([(example.goal, example.messages) for example in some[at : at + AT_ONCE]])
        best = min(best, (time.process_time() - began) / len(some))
    return best * 1e6


def measure(events: Path, *, wrong: bool) -> int:
    """1 when a must is missed."""
    rows = list(runs(events))
    dojo = [run for run in rows if run.example.domain in ("banking", "travel")]
    for half in ("tune", "report"):
        print(f"-- {half} half of the tasks; threshold {THRESHOLD}")
        mine = [run for run in dojo if run.half == half]
        for domain in ("banking", "travel"):
            tell(domain, [run for run in mine if run.example.domain == domain])
        for attack in sorted({run.attack for run in mine}):
            tell(attack or "no attack", [run for run in mine if run.attack == attack])
        left, lost = tell("both", mine)
        tell_auroc(mine)
    for domain in ("sql", "airline"):
        tell(domain, [run for run in rows if run.example.domain == domain])
    for run in dojo if wrong else ():
        if run.caught != run.hijacked:
            print(
                f"{run.half} {run.example.key} {run.example.task_id} {run.attack} {run.found.score} {run.found.evidence[:2]}"
            )
    took = speed(rows)
    print(
        f"{took:.0f} us a run of 2 KB (must {MUST_US:.0f}); left {left:.2%} (must {MUST_LEFT:.0%}), lost {lost:.1%} (must {MUST_LOST:.0%})"
    )
    return int(took > MUST_US or left > MUST_LEFT or lost > MUST_LOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true")
    args, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = real_events(Path(name) / "events.jsonl") if DOJO.is_file() else None
        if events is None:
            print(f"no real runs here ({DOJO} is missing): nothing measured")
            return
        sys.exit(measure(events, wrong=args.wrong))


if __name__ == "__main__":
    main()
