"""The curator at a million runs: what an example costs, what an update of 1 % costs, and the memory of the worker.

    python -m bench.scaling [EVENTS.jsonl] [--rows 10000,100000] [--long] [--piece 10000] [--json FILE] [--svg FILE]

Rows are grown from the real ones (growing.py) and go through the worker process of the product, in requests of `--piece`
rows in batches of 1,000. CPU seconds are those of the worker, also what it does to check the version that is published;
memory is the largest that it ever had (VmHWM: with the pages of mapped files). An update is a request of 1 % new rows.
A machine's speed drifts in a quarter of an hour, so whether an example costs the same at any size is asked in one moment: the
last pieces before a size take turns with one of the same real runs that is built as the first of a dataset, by another worker.
An interpreter that was built without profile-guided optimisation (pyenv's default) takes a sixth longer for all this than
Debian's or that of the python images; the first line tells how fast this one counts.
Without a file it asks ../shared/tools/traces_to_events.py.
"""

import argparse
import asyncio
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil

from bench.growing import Mould, batches, grown, load
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

    _others: ClassVar[set[int]] = set()

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
            self._process = next((one for one in workers if one.pid not in self._others), None)
            self._others.update([self._process.pid] if self._process else ())
        times = self._process.cpu_times() if self._process else None
        return times.user + times.system if times else 0.0


async def measure(made: Sequence[Mould], seed: int, sizes: Sequence[int], piece: int, root: Path) -> Curve:
    async with ProcessCurator() as curator, ProcessCurator() as beside:
        grower = Grower(Worker(curator), grown(made, seed=seed), root)
        first = First(Worker(beside), made, seed, piece)
        curve = Curve()
        for size in sizes:
            turns: list[tuple[float, float]] = []
            while grower.total < size:
                count = min(piece, size - grower.total)
                in_turn = count == piece and size - grower.total < piece * (TURNS + 1)
                begun = await first.like(grower.total) if in_turn else 0.0
                took = await grower.grow(count)
                curve.pieces.append((grower.total, round(took, 3)))
                turns += [(begun, took)] * in_turn
            curve.points.append(await _point(grower, turns))
            tell(curve.points[-1])
    return curve


class Grower:
    """One dataset, version after version, each upon the one before, as in production."""

    def __init__(self, worker: Worker, rows: Iterator[SealedRow], root: Path) -> None:
        self.worker, self._rows, self._root = worker, rows, root
        self.folder: Path | None = None
        self.total, self.cpu_s, self._batches = 0, 0.0, 0

    async def grow(self, count: int) -> float:
        """CPU seconds of the next version, which takes in so many rows, and of its check."""
        sealed = batches(self._rows, count, BATCH, first=1 + self._batches)
        version, took = await self.worker.build(sealed, self.folder, self._root / "scratch")
        published = (self._root / "scratch").rename(self._root / version)
        took += await self.worker.check(published)
        if self.folder is not None:
            shutil.rmtree(self.folder)
        self.folder, self._batches = published, self._batches + len(sealed)
        self.total, self.cpu_s = self.total + count, self.cpu_s + took
        return took


class First:
    """Pieces that are a dataset's first, each thrown away, in a worker of its own: beside another dataset's rows they would
    push those out of memory."""

    def __init__(self, worker: Worker, made: Sequence[Mould], seed: int, piece: int) -> None:
        self._worker, self._made, self._seed, self._piece = worker, made, seed, piece
        self._begun = False

    async def like(self, total: int) -> float:
        """CPU seconds of a piece of the same real runs as the one that comes after `total` rows, in other letters: pieces that
        begin elsewhere in a pass differ by a tenth."""
        if not self._begun:
            self._begun = True
            await self._build(total)  # what a process does once
        return await self._build(total)

    async def _build(self, total: int) -> float:
        self._seed += 1
        rows = grown(self._made, seed=self._seed, first=total % len(self._made))
        sealed = batches(rows, self._piece, BATCH, first=1)
        with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
            output = Path(name) / "version"
            _, took = await self._worker.build(sealed, None, output)
            return took + await self._worker.check(output)


async def _point(grower: Grower, turns: Sequence[tuple[float, float]]) -> Point:
    """`turns`: CPU seconds of a piece that is the first, and of one upon all rows, one after the other."""
    total, cpu, peak, folder = grower.total, grower.cpu_s, grower.worker.peak_mb(), grower.folder
    assert folder is not None
    first_s, upon_s = (statistics.median(of) for of in zip(*turns, strict=True))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    took = await grower.grow(total // 100)
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


def tell(point: Point) -> None:
    print(
        f"{point.rows:9,} rows: {point.rate:6,} a CPU second, worker {point.peak_mb:,.0f} MB, 1 % more"
        f" {point.update_s} s CPU = {point.update_percent} %, a piece {point.upon_s} s upon these, {point.first_s} s as the first;"
        f" {point.kept:,} kept, {point.files} files, {point.folder_mb:,} MB",
        flush=True,
    )


def _additions() -> float:
    """Seconds: what a bare interpreter does on this machine, for who compares two."""
    began, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - began


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
    parser.add_argument("--svg", type=Path, help="a picture of what each piece costs")
    args = parser.parse_args()
    sizes = [int(size) for size in args.rows.split(",")] + [1_000_000] * args.long
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = args.events or real_events(Path(name) / "events.jsonl")
        if events is None:
            print("no real runs here: nothing measured")
            return 0
        print(f"Python {platform.python_version()} of {sys.prefix}: ten million additions in {_additions():.2f} s CPU")
        began = time.perf_counter()
        piece = min([args.piece, *sizes])
        curve = asyncio.run(measure(load(events), args.seed, sorted(set(sizes)), piece, Path(name)))
    print(f"{time.perf_counter() - began:.0f} s wall")
    if args.svg:
        from l07.backends.curves import plot

        title = f"CPU seconds of {piece:,} more rows"
        args.svg.write_text(plot(title, {"seconds": curve.pieces}, across="rows"), "utf-8")
    if args.json:
        args.json.write_text(json.dumps(asdict(curve), indent=1) + "\n", "utf-8")
    wrong = missed(curve.points)
    print("\n".join(f"must missed: {name}" for name in wrong) or "every must is met")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
