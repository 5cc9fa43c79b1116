"""Curation of real runs, batch by batch: seconds against the limit, what was kept and why the rest went, and whether
G7 held.

    python -m bench.curate [EVENTS.jsonl] [--count 1000] [--shuffle SEED]

Without a file it asks ../shared/tools/traces_to_events.py for the real runs; where that is not, it says so and measures nothing.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.real import RULES, TOOL, batches, joined, real_events
from l07.backends.parquet import read_groups, read_manifest, read_members, read_rows
from l07.backends.worker import build_version
from l07.domain.bands import Bands, as_array
from l07.domain.dataset import SPLITS
from l07.domain.deeds import MOST_TASKS, deeds_of
from l07.domain.duplicates import Sketcher, action_text, jaccard
from l07.ports import CurateRequest, SealedBatch

LIMIT_S = 30.0  # of CPU, for all batches: the whole real run has 90 s on two cores


def run(sealed: Sequence[SealedBatch], root: Path) -> tuple[Path, float]:
    """Every version; the newest folder and the seconds of CPU."""
    folder: Path | None = None
    waiting: list[SealedBatch] = []
    began = time.process_time()
    for batch in sealed:
        waiting.append(batch)
        at, wall = time.process_time(), time.perf_counter()
        output = root / batch.seal.batch_id
        made = build_version(CurateRequest("default", waiting, RULES, folder, None, output))
        took = f"{time.process_time() - at:5.2f} s CPU {time.perf_counter() - wall:5.2f} s wall"
        if not made.version:
            print(f"{batch.seal.batch_id}: {took}  waits: {made.summary['message']}")
            continue
        waiting, folder = [], output.rename(root / made.version)
        print(
            f"{made.version}: {took}  {made.summary['splits']} added {made.summary['added']} removed {made.summary['removed']}"
        )
    assert folder is not None
    return folder, time.process_time() - began


def tell(folder: Path) -> None:
    """Where the gate-passing runs went, by domain; where the others went."""
    passed: dict[str, Counter[str]] = defaultdict(Counter)
    failed: Counter[str] = Counter()
    gates = {"low_score", "low_confidence"}
    for member in read_members(folder):
        if gates & set(member["reasons"]):
            failed[member["table"] or member["reasons"][-1]] += 1
        else:
            passed[member["domain"]][
                member["table"] if member["table"] in (*SPLITS, "review") else member["reasons"][-1]
            ] += 1
    for domain, counts in sorted(passed.items()):
        kept = sum(counts[split] for split in SPLITS)
        print(f"{domain:8} passed the gates {counts.total():5}  kept {kept:5}  {dict(counts.most_common())}")
    print(f"below a gate {failed.total()}: {dict(failed)}")


def check(folder: Path) -> None:
    """G7 on the files alone: twins and tasks across splits; and a leak that the sketch is not asked to see."""
    rows = [row | {"at": table} for table in SPLITS for row in read_rows(folder, table)]
    sketcher = Sketcher()
    shingles = [sketcher.shingles(action_text(row["goal"], row["messages"])) for row in rows]
    sketches = as_array([sketcher.sketch(one) for one in shingles])
    bands = Bands.of(np.arange(len(rows), dtype=np.uint32), sketches)
    worst = Counter[str]()
    for one, other in zip(*bands.meets(bands), strict=True):
        if one < other and rows[one]["at"] != rows[other]["at"]:
            value = jaccard(shingles[one], shingles[other])
            worst.update({f">={limit}": 1 for limit in (0.5, 0.6, 0.7, 0.8) if value >= limit})
    tasks: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        tasks[f"{row['domain']}/{row['task_id']}"].add(row["at"])
    print(
        f"pairs across splits by similarity {dict(worst)}; tasks in two splits {sum(len(s) > 1 for s in tasks.values())}"
    )
    tell_deeds(rows)
    groups = Counter(len(group["tasks"]) for group in read_groups(folder))
    print(
        f"groups with rows {len({row['group'] for row in rows})}; groups by number of tasks {dict(sorted(groups.items()))}"
    )
    print(f"difficulty mean {np.mean([row['difficulty'] for row in rows]):.3f}")


def tell_deeds(rows: Sequence[Mapping[str, Any]]) -> None:
    """Test rows that a model can have learnt by heart: a train row made exactly the same calls. By kind: deeds that
    link, deeds of too many tasks, deeds too short to say anything."""
    trained: dict[str, set[str]] = defaultdict(set)
    tasks: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        tasks[_done(row)].add(f"{row['domain']}/{row['task_id']}")
        if row["at"] == "train":
            trained[_done(row)].add(row["key"])
    kinds = Counter(
        "without a digest"
        if not deeds_of(row["messages"])
        else "generic"
        if len(tasks[_done(row)]) > MOST_TASKS
        else "linked"
        for row in rows
        if row["at"] == "test" and _done(row) in trained
    )
    test = sum(row["at"] == "test" for row in rows)
    print(f"of {test} test rows {kinds.total()} made the calls of a train row: {dict(kinds)}")


def _done(row: Mapping[str, Any]) -> str:
    """The calls as JSON; a run without calls did what no other did."""
    calls = [
        [call["function"]["name"], call["function"]["arguments"]]
        for message in row["messages"]
        for call in message.get("tool_calls") or ()
    ]
    return json.dumps(calls, sort_keys=True) if calls else row["key"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--shuffle", type=int, help="rows of each batch in another order: the digest must stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        sys.exit(measure(args.events, args.count, args.shuffle, Path(name)))


def measure(events: Path | None, count: int, shuffle: int | None, root: Path) -> int:
    """Build, tell and check; 1 when the limit is missed."""
    events = events or real_events(root / "events.jsonl")
    if events is None:
        print(f"no real runs here ({TOOL} is missing): nothing measured")
        return 0
    sealed = list(batches(joined(events), count))
    if shuffle is not None:
        rng = random.Random(shuffle)
        sealed = [SealedBatch(batch.seal, rng.sample(list(batch.rows), len(batch.rows))) for batch in sealed]
    folder, seconds = run(sealed, root)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"digest {read_manifest(folder)['digest']}  {size / 1e6:.1f} MB")
    tell(folder)
    check(folder)
    print(f"all batches: {seconds:.1f} s CPU = {seconds / LIMIT_S:.2f} of the limit {LIMIT_S:.0f} s")
    return int(seconds > LIMIT_S)


if __name__ == "__main__":
    main()
