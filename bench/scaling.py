"""The curator at a million runs: what an example costs, what an update of 1 % costs, and the memory of the worker.

    python -m bench scaling [EVENTS.jsonl] [--rows 10000,100000] [--long] [--piece 10000] [--json FILE]

Rows are grown from the real ones (growing.py) and go through the worker process of the product, in requests of `--piece`
rows in batches of 1,000. CPU seconds are those of the worker, also what it does to check the version that is published;
memory is the largest that it ever had (VmHWM: with the pages of mapped files). An update is a request of 1 % new rows
that is built on the version and thrown away. A machine's speed drifts in a quarter of an hour, so whether an example
costs the same at any size is asked in one moment: new pieces are built as a first version and upon what there is, in turn.
Without a file it asks ../shared/tools/traces_to_events.py.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench.growing import batches, grown, load
from bench.real import RULES, real_events
from l07.backends.worker import ProcessCurator
from l07.ports import CurateRequest, SealedBatch, SealedRow

MUST_RATE, GOAL_RATE = 2500, 6000  # examples a CPU second
MUST_MB = 2000  # of the worker
MUST_UPDATE = 3.0  # % of the full build
MUST_LINEAR = 0.8  # seconds of a piece as a first version over those of a piece upon the largest number of rows
TURNS = 3  # of which the median counts
BATCH = 1000


@dataclass
class Point:
    """At one number of rows."""

    rows: int
    cpu_s: float  # of all pieces so far
    rate: float  # rows a CPU second, of all so far
    peak_mb: float
    update_s: float  # CPU seconds of 1 % more
    update_percent: float  # of cpu_s
    first_s: float  # CPU seconds of a piece that is a version's first
    upon_s: float  # of a piece upon these rows
    kept: int  # rows in the splits
    files: int
    folder_mb: float


@dataclass
class Curve:
    pieces: list[tuple[int, float]] = field(default_factory=list)  # rows after the piece, CPU seconds of it
    points: list[Point] = field(default_factory=list)


class Worker:
    """The curator's process, watched from outside."""

    def __init__(self, curator: ProcessCurator) -> None:
        self._curator = curator
        self._process: psutil.Process | None = None

    async def build(self, sealed: Sequence[SealedBatch], parent: Path | None, output: Path) -> tuple[str, float]:
        """The version, and the CPU seconds."""
        before = self._cpu()
        made = await self._curator.build(CurateRequest("default", sealed, RULES, parent, None, output))
        if not made.version:
            raise SystemExit(f"no version: {made.summary}")
        return made.version, self._cpu() - before

    async def check(self, folder: Path) -> float:
        """What is done to a version once it is published."""
        before = self._cpu()
        await self._curator.summary(folder)
        return self._cpu() - before

    def cpu_s(self) -> float:
        """So far."""
        return self._cpu()

    def peak_mb(self) -> float:
        assert self._process is not None
        lines = Path(f"/proc/{self._process.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def _cpu(self) -> float:
        if self._process is None:
            workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
            self._process = workers[0] if workers else None
        times = self._process.cpu_times() if self._process else None
        return times.user + times.system if times else 0.0


async def measure(rows: Iterator[SealedRow], sizes: Sequence[int], piece: int, root: Path) -> Curve:
    curve, folder, total, cpu = Curve(), None, 0, 0.0
    async with ProcessCurator() as curator:
        worker = Worker(curator)
        for size in sizes:
            while total < size:
                count = min(piece, size - total)
                version, took = await worker.build(_next(rows, count, total), folder, root / "scratch")
                published = (root / "scratch").rename(root / version)
                took += await worker.check(published)
                if folder is not None:
                    shutil.rmtree(folder)
                folder, total, cpu = published, total + count, cpu + took
                curve.pieces.append((total, round(took, 3)))
            assert folder is not None
            curve.points.append(await _point(worker, rows, folder, total, cpu, piece))
            tell(curve.points[-1])
    return curve


def _next(rows: Iterator[SealedRow], count: int, total: int) -> list[SealedBatch]:
    return batches(rows, count, BATCH, first=1 + total // BATCH)


async def _point(worker: Worker, rows: Iterator[SealedRow], folder: Path, total: int, cpu: float, piece: int) -> Point:
    peak = worker.peak_mb()
    took = await _thrown_away(worker, _next(rows, total // 100, total), folder)
    turns = [
        [await _thrown_away(worker, _next(rows, piece, total), parent) for parent in (None, folder)]
        for _ in range(TURNS)
    ]
    first_s, upon_s = (statistics.median(of) for of in zip(*turns, strict=True))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return Point(
        rows=total,
        cpu_s=round(cpu, 2),
        rate=round(total / cpu),
        peak_mb=round(peak),
        update_s=round(took, 2),
        update_percent=round(100 * took / cpu, 2),
        first_s=round(first_s, 2),
        upon_s=round(upon_s, 2),
        kept=sum(manifest["splits"].values()),
        files=len(manifest["files"]),
        folder_mb=round(sum(one["bytes"] for one in manifest["files"].values()) / 1e6),
    )


async def _thrown_away(worker: Worker, sealed: Sequence[SealedBatch], parent: Path | None) -> float:
    """CPU seconds of the build and its check."""
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        output = Path(name) / "version"
        _, took = await worker.build(sealed, parent, output)
        return took + await worker.check(output)


def tell(point: Point) -> None:
    print(
        f"{point.rows:9,} rows: {point.rate:6,} a CPU second, worker {point.peak_mb:,.0f} MB, 1 % more"
        f" {point.update_s} s CPU = {point.update_percent} %, a piece {point.upon_s} s upon these, {point.first_s} s as the first;"
        f" {point.kept:,} kept, {point.files} files, {point.folder_mb:,} MB",
        flush=True,
    )


def missed(points: Sequence[Point]) -> list[str]:
    """The musts that are not met; an update of less than 1,000 rows is mostly what any build costs."""
    last = points[-1]
    limits = {
        f"{MUST_RATE:,} examples a CPU second (goal {GOAL_RATE:,}), have {last.rate:,}": last.rate >= MUST_RATE,
        f"{MUST_MB:,} MB, have {last.peak_mb:,.0f}": last.peak_mb <= MUST_MB,
        f"update {MUST_UPDATE} %, have {last.update_percent}": last.rows < 100_000
        or last.update_percent <= MUST_UPDATE,
        f"linear within {MUST_LINEAR}, have {last.first_s / last.upon_s:.2f}": last.first_s
        >= MUST_LINEAR * last.upon_s,
    }
    return [name for name, met in limits.items() if not met]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--long", action="store_true", help="a million too; a quarter of an hour")
    parser.add_argument("--piece", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = [int(size) for size in args.rows.split(",")] + [1_000_000] * args.long
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = args.events or real_events(Path(name) / "events.jsonl")
        if events is None:
            print("no real runs here: nothing measured")
            return 0
        rows = grown(load(events), seed=args.seed)
        began = time.perf_counter()
        curve = asyncio.run(measure(rows, sorted(set(sizes)), args.piece, Path(name)))
    print(f"{time.perf_counter() - began:.0f} s wall")
    if args.json:
        args.json.write_text(json.dumps(asdict(curve), indent=1) + "\n", "utf-8")
    wrong = missed(curve.points)
    print("\n".join(f"must missed: {name}" for name in wrong) or "every must is met")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
