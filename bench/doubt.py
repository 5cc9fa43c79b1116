"""Doubt on real runs: faults are planted into a copy, the stage judges, and what was caught, left and lost is told by
source, with intervals.

    python -m bench.doubt [EVENTS.jsonl] [--seeds 5] [--noise 0.12]

The planters are not the stage's own faults: they were written apart from `l07/domain/doubt/faults.py` and work on other
terms. Only tasks of the half that was not tuned on are counted; the stage sees all. What the two have in common by
nature: a cut is a cut. Limits: after a plant of 12 % at most 5 % noise left at 10 % of clean runs lost.
"""

import argparse
import hashlib
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.real import joined, real_events
from l07.domain.doubt import Attempt, Doubt, Held, Limits, Run, doubts, read
from l07.domain.example import FEATURES, TrainingExample, extract, measure
from l07.domain.statistics import wilson

Messages = Sequence[Mapping[str, Any]]


@dataclass
class Row:
    """A run, what the gates say of it, and what was done to it."""

    key: str
    domain: str
    task: str
    run: Run
    accepted: bool
    low: bool  # rejected for its score
    fault: str = ""


def counted(task: str) -> bool:
    """Of the half that was not tuned on."""
    return hashlib.sha256(task.encode()).digest()[0] % 2 == 1


# ------------------------------------------------------------------ planters


def cut(messages: Messages, rng: random.Random) -> Messages | None:
    """The end is missing, from any message on after the first of the assistant."""
    begun = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not begun or begun[0] + 1 >= len(messages):
        return None
    return messages[: rng.randint(begun[0] + 1, len(messages) - 1)]


def shuffled(messages: Messages, rng: random.Random) -> Messages | None:
    """All steps in any order; what stands between them stays."""
    slots: list[tuple[int, int]] = []
    for i, message in enumerate(messages):
        if message.get("tool_calls"):
            slots.append((i, i + 1))
        elif message["role"] == "tool" and slots and slots[-1][1] == i:
            slots[-1] = (slots[-1][0], i + 1)
    order = list(range(len(slots)))
    for _ in range(10):
        rng.shuffle(order)
        out, at = [], 0
        for (start, end), other in zip(slots, order, strict=True):
            out += [*messages[at:start], *messages[slice(*slots[other])]]
            at = end
        out += messages[at:]
        if [m.get("content") for m in out] != [m.get("content") for m in messages]:
            return out
    return None


def wrong_outputs(messages: Messages, rng: random.Random, pool: Mapping[str, Sequence[Any]]) -> Messages | None:
    """Half of the time the run's own outputs are dealt anew, else 30-100 % come from the same tool at large."""
    places = [i for i, message in enumerate(messages) if message["role"] == "tool"]
    if not places:
        return None
    texts = [messages[i].get("content") for i in places]
    if rng.random() < 0.5 and len(set(map(str, texts))) > 1:
        rng.shuffle(texts)
    else:
        for n in rng.sample(range(len(places)), max(1, round(len(places) * rng.uniform(0.3, 1)))):
            texts[n] = rng.choice(pool[str(messages[places[n]].get("name"))])
    dealt = dict(zip(places, texts, strict=True))
    out = [{**message, "content": dealt[i]} if i in dealt else message for i, message in enumerate(messages)]
    return out if out != list(messages) else None


def plant(rows: Sequence[Row], noise: float, rng: random.Random) -> None:
    """A quarter of `noise` each: a failure with a good score (and as many successes with a bad one), cut, shuffled,
    wrong outputs."""
    accepted, low = [r for r in rows if r.accepted], [r for r in rows if r.low]
    each = round(noise / 4 * len(accepted))
    pool: dict[str, list[Any]] = defaultdict(list)
    for message in (m for row in accepted for m in row.run.messages if m["role"] == "tool"):
        pool[str(message.get("name"))].append(message.get("content"))
    for row in rng.sample(low, min(each, len(low))):
        row.accepted, row.fault = True, "wrong score"
    rng.shuffle(accepted)
    for row in accepted[:each]:
        row.accepted, row.low, row.fault = False, True, "wrong score"
    planters: Mapping[str, Callable[[Messages], Messages | None]] = {
        "cut": lambda messages: cut(messages, rng),
        "shuffled": lambda messages: shuffled(messages, rng),
        "wrong outputs": lambda messages: wrong_outputs(messages, rng, pool),
    }
    for name, planter in planters.items():
        spoil([row for row in accepted[each:] if not row.fault], name, planter, count=each)


def spoil(rows: Sequence[Row], name: str, planter: Callable[[Messages], Messages | None], *, count: int) -> None:
    """The first `count` that the planter can do something to."""
    for row in rows:
        made = planter(row.run.messages) if count else None
        if made is not None:
            row.run, row.fault, count = Run(made, row.run.goal), name, count - 1


# ------------------------------------------------------------------ measuring


def judged(rows: Sequence[Row]) -> tuple[dict[str, Doubt], float, float]:
    """Doubts, microseconds a row to read, seconds to fit and score."""
    at = time.process_time()
    readings = [read(row.run.messages, row.run.goal) for row in rows]
    reading = (time.process_time() - at) / len(rows) * 1e6
    attempts = []
    for row, seen in zip(rows, readings, strict=True):
        features = measure(row.run.messages, row.run.goal)
        values = (*(features[name] for name in FEATURES), *seen.values)
        attempts.append(Attempt(row.key, "l02", row.domain, row.task, row.accepted, values, seen.trail, True))
    texts = {row.key: row.run for row in rows}
    at = time.process_time()
    found = doubts(attempts, Held(texts), limits=Limits(), seed=7)
    return found, reading, time.process_time() - at


def auroc(bad: Sequence[float], good: Sequence[float]) -> float:
    ranks = np.searchsorted(np.sort(good), bad, "left") + np.searchsorted(np.sort(good), bad, "right")
    return float(np.mean(ranks) / 2 / len(good)) if len(bad) and len(good) else float("nan")


class Table:
    """Sums over seeds; intervals are Wilson's over all runs of all seeds, so they take repeats for independent."""

    def __init__(self) -> None:
        self.caught: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.aurocs: dict[str, list[float]] = defaultdict(list)
        self.before, self.left, self.lost, self.refused = [0, 0], [0, 0], [0, 0], [0, 0]

    def add(self, rows: Sequence[Row], found: Mapping[str, Doubt]) -> None:
        clean = [r for r in rows if r.accepted and not r.fault]
        noise = [r for r in rows if r.accepted and r.fault]
        out = {r.key: found[r.key].doubtful_run or found[r.key].doubtful_label for r in rows}
        kept, left = [r for r in clean if not out[r.key]], [r for r in noise if not out[r.key]]
        for total, (part, whole) in (
            (self.before, (len(noise), len(noise) + len(clean))), (self.left, (len(left), len(left) + len(kept))),
            (self.lost, (len(clean) - len(kept), len(clean))),
        ):  # fmt: skip
            total[0], total[1] = total[0] + part, total[1] + whole
        rejected = [r for r in rows if not r.accepted]
        self.refused[0] += sum(out[r.key] for r in rejected if not r.fault)
        self.refused[1] += sum(not r.fault for r in rejected)
        for name in ("wrong score", "cut", "shuffled", "wrong outputs"):
            mine = [r for r in noise if r.fault == name]
            self.caught[name][0] += sum(out[r.key] for r in mine)
            self.caught[name][1] += len(mine)
            asked = "label" if name == "wrong score" else "run"
            values = [[getattr(found[r.key], asked) for r in part] for part in (mine, clean)]
            if mine and all(v is not None for v in values[0] + values[1]):
                self.aurocs[name].append(auroc(*values))

    def tell(self, domain: str) -> None:
        print(f"{domain:8} noise before {share(self.before)}  left {share(self.left)}")
        print(f"   clean lost {share(self.lost)}  rejected that leave contrast {share(self.refused)}")
        for name, counts in self.caught.items():
            mean = np.mean(self.aurocs[name]) if self.aurocs[name] else float("nan")
            print(f"   {name:14} AUROC {mean:.3f}  caught {share(counts)}")


def share(counts: Sequence[int]) -> str:
    part, whole = counts
    if not whole:
        return "none"
    low, high = wilson(part, whole)
    return f"{part}/{whole} {part / whole:.1%} [{low:.1%}, {high:.1%}]"


def examples(path: Path) -> list[tuple[TrainingExample, bool, bool]]:
    found = []
    for row in joined(path):
        example = extract(
            row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence, trace_at=row.trace_at,
            evaluation_at=row.evaluation_at,
        )  # fmt: skip
        if isinstance(example, TrainingExample) and (row.decision == "ACCEPT" or row.score < 70):
            found.append((example, row.decision == "ACCEPT", row.score < 70))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        path = args.events or real_events(Path(name) / "events.jsonl")
        if path is None:
            print("no real runs here: nothing measured")
            return
        tell(examples(path), args.seeds, args.noise)


def tell(real: Sequence[tuple[TrainingExample, bool, bool]], seeds: int, noise: float) -> None:
    for domain in sorted({example.domain for example, _, _ in real}):
        table = Table()
        for seed in range(1000, 1000 + seeds):
            rows = [
                Row(e.key, domain, e.task_id, Run(e.messages, e.goal), accepted, low)
                for e, accepted, low in real
                if e.domain == domain
            ]
            plant(rows, noise, random.Random(seed))
            found, reading, seconds = judged(rows)
            table.add([row for row in rows if counted(row.task)], found)
        table.tell(domain)
        print(f"   {len(rows)} runs: read {reading:.0f} us a run, fit and score {seconds:.2f} s CPU")


if __name__ == "__main__":
    main()
