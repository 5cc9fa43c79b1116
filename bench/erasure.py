"""What it costs to erase somebody: a version is built of grown runs, and its successors without a few of them.

    python -m bench.erasure [EVENTS.jsonl] [--rows 10000,100000] [--piece 10000] [--json FILE]

Rows are grown from the real ones (growing.py) and built in requests of `--piece` rows. Each kind of erasure starts a worker
of its own, so that its memory (VmHWM: with the pages of mapped files) is that of the erasure alone; seconds are wall and CPU
of looking for whoever is meant and of building the successor, with the check of the version before that any build does.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.growing import batches, grown, load
from bench.real import RULES, real_events
from bench.scaling import BATCH, Worker
from l07.backends.worker import ProcessCurator
from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, Marks
from l07.ports import CurateRequest, SealedRow

MUST_MB = 1000  # of the worker, at any number of rows
MARKS = Marks(b"b" * 32)


@dataclass
class Row:
    """One erasure."""

    rows: int
    what: str
    gone: int
    find_s: float
    build_s: float
    cpu_s: float
    peak_mb: float
    written_mb: float  # files that the successor does not share with the version before


async def a_version(
    rows: Iterator[SealedRow], folder: Path | None, have: int, size: int, piece: int, root: Path
) -> Path:
    """`folder`, with `have` rows, grown to `size`."""
    async with ProcessCurator() as curator:
        worker = Worker(curator)
        while have < size:
            count = min(piece, size - have)
            version, _ = await worker.build(
                batches(rows, count, BATCH, first=1 + have // BATCH), folder, root / "scratch"
            )
            published = (root / "scratch").rename(root / version)
            if folder is not None:
                shutil.rmtree(folder)
            folder, have = published, have + count
    assert folder is not None
    return folder


def erasures(folder: Path) -> Mapping[str, list[str]]:
    """Natural keys, by what they are."""
    from l07.backends.parquet import read_members

    keys = sorted(one["key"] for one in read_members(folder))
    return {
        "one run": keys[len(keys) // 2 :][:1],
        "100 runs next to each other": keys[:100],
        "100 runs everywhere": keys[:: max(1, len(keys) // 100)][:100],
    }


async def measure(folder: Path, rows: int, what: str, keys: Sequence[str], root: Path) -> Row:
    stones = Tombstones(MARKS, {KEY: frozenset(MARKS.of(KEY, key) for key in keys)}, 1)
    output = root / "erased"
    async with ProcessCurator() as curator:
        worker = Worker(curator)
        began = time.perf_counter()
        found = await curator.erased_in(folder, stones)
        found_at = time.perf_counter()
        await worker.check(folder)  # names the process
        request = CurateRequest("default", [], RULES, folder, None, output, erased=stones)
        began_at = time.perf_counter()
        made = await curator.build(request)
        done = time.perf_counter()
        cpu_s, peak = worker.cpu_s(), worker.peak_mb()
    assert len(found) == made.summary["counts"]["erased"] == len(keys)
    kept = {(path.stat().st_dev, path.stat().st_ino) for path in folder.rglob("*")}
    new = [s.st_size for path in output.rglob("*") if (s := path.stat()) and (s.st_dev, s.st_ino) not in kept]
    shutil.rmtree(output)
    return Row(
        rows=rows,
        what=what,
        gone=len(keys),
        find_s=round(found_at - began, 2),
        build_s=round(done - began_at, 2),
        cpu_s=round(cpu_s, 2),
        peak_mb=round(peak),
        written_mb=round(sum(new) / 1e6, 1),
    )


def tell(row: Row) -> None:
    print(
        f"{row.rows:9,} rows, {row.what:28}: found in {row.find_s:6.2f} s, successor in {row.build_s:6.2f} s, "
        f"{row.cpu_s:6.2f} s CPU in all, worker {row.peak_mb:6,.0f} MB, {row.written_mb:,.1f} MB written",
        flush=True,
    )


async def run(rows: Iterator[SealedRow], sizes: Sequence[int], piece: int, root: Path) -> list[Row]:
    folder, have, told = None, 0, []
    for size in sizes:
        folder = await a_version(rows, folder, have, size, piece, root)
        have = size
        for what, keys in erasures(folder).items():
            told.append(await measure(folder, size, what, keys, root))
            tell(told[-1])
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--piece", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = args.events or real_events(Path(name) / "events.jsonl")
        if events is None:
            print("no real runs here: nothing measured")
            return 0
        rows = grown(load(events), seed=args.seed)
        sizes = sorted({int(size) for size in args.rows.split(",")})
        told = asyncio.run(run(rows, sizes, args.piece, Path(name)))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in told], indent=1) + "\n", "utf-8")
    wrong = [f"{row.what} of {row.rows:,}: {row.peak_mb:,.0f} MB" for row in told if row.peak_mb > MUST_MB]
    print("\n".join(f"must of {MUST_MB:,} MB missed: {one}" for one in wrong) or "every must is met")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
