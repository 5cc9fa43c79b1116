"""`l07 demo`: the whole loop on a generated world, from events out of order to a verdict, and a page of what happened."""

import argparse
import asyncio
import gzip
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.cli import INTERRUPTED
from l07.cli.console import Console
from l07.errors import DemoFolderTaken, disk_errors
from l07.settings import Settings, load_settings

MARKER = "demo.json"  # says that this folder is a demo's and may be made again


@dataclass(frozen=True, slots=True)
class World:
    """What was generated: files, and what is in them."""

    events: Path
    golden: Path
    counts: Mapping[str, int]
    domains: Mapping[str, int]  # tasks a domain


def demo(args: argparse.Namespace, console: Console) -> int:
    """Exit 0 when the loop ended with a verdict, whatever the verdict is; 1 when it did not.

    Raises:
        DemoFolderTaken: E7906, the folder holds something that is not a demo's."""
    from l07.telemetry import log_to_stderr

    if args.events:
        return _write_events(args, console)
    folder = Path(args.data_dir or ".l07-demo")
    log_to_stderr("error")
    clear(folder)
    world = _generate(folder, tasks=args.tasks, seed=args.seed)
    settings = _settings(folder, world, seed=args.seed, cache=args.bases)
    console.note(
        f"world: {world.counts['runs']} runs of {sum(world.domains.values())} tasks in {len(world.domains)} domains, written to {world.events}"
    )
    set_up_s = asyncio.run(_make_bases(settings, console))
    started = time.monotonic()
    told = asyncio.run(_loop(settings, world, console))
    console.end_progress()
    page = asyncio.run(
        _page(settings, world, seconds={**told["seconds"], "set-up": set_up_s, "total": time.monotonic() - started})
    )
    if args.json_file:
        Path(args.json_file).write_text(json.dumps(page, indent=1, default=str), "utf-8")
    from l07.cli.demo_page import show

    show(page, console)
    if told["stopped"]:
        return INTERRUPTED
    return 0 if page["verdict"] else 1


def _write_events(args: argparse.Namespace, console: Console) -> int:
    """What the demo would send, for `l07 send` and for other buses."""
    from l07.domain import world

    stream = world.stream(list(world.demo_runs(args.tasks, args.seed)), seed=args.seed)
    raw = "".join(line + "\n" for line in stream.lines).encode("utf-8", "surrogateescape")
    if args.events == "-":
        console.raw(raw)
    else:
        with disk_errors(Path(args.events)):
            Path(args.events).write_bytes(raw)
    console.note(f"{len(stream.lines)} events of {stream.counts['runs']} runs")
    return 0


def clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise DemoFolderTaken(
                f"{folder} holds something that is not a demo's; name another folder with --data-dir",
                folder=str(folder),
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _generate(folder: Path, *, tasks: int, seed: int) -> World:
    from l07.domain import world

    runs = list(world.demo_runs(tasks, seed))
    stream = world.stream(runs, seed=seed)
    events, golden = folder / "events.jsonl.gz", folder / "golden.jsonl"
    with gzip.open(events, "wt", encoding="utf-8", compresslevel=1) as out:
        out.writelines(line + "\n" for line in stream.lines)
    golden.write_text("".join(json.dumps(row) + "\n" for row in world.golden(40, seed)), "utf-8")
    domains = {domain: len({run.task.task_id for run in runs if run.task.domain == domain}) for domain in world.DOMAINS}
    (folder / MARKER).write_text(json.dumps({"seed": seed, "tasks": tasks, "counts": dict(stream.counts)}), "utf-8")
    return World(events, golden, stream.counts, domains)


def _settings(folder: Path, world: World, *, seed: int, cache: str | None) -> Settings:
    overrides: dict[str, Any] = {
        "data_dir": folder,
        "seed": seed,
        "models.cache_dir": cache or str(folder.parent / ".l07-bases"),
        "tracks.default.base_model": "tiny-policy",
        "tracks.default.golden": str(world.golden.resolve()),
        "training.threads": 1,  # half a million parameters: a second thread costs more than it brings
    }
    return load_settings({}, overrides=overrides).settings


async def _make_bases(settings: Settings, console: Console) -> float:
    """Seconds that making the bases took; they are kept beside the demo's folder, so that the next demo finds them."""
    from l07.backends.open import open_bases, open_trainer
    from l07.pipeline.bases import prepare_base

    started = time.monotonic()
    console.progress("set-up: making the tiny base models (about a minute, once)")
    await prepare_base(
        "tiny-policy", aliases={}, store=open_bases(settings), trainer=open_trainer(settings), timeout_s=1800
    )
    console.end_progress()
    return time.monotonic() - started


async def _loop(settings: Settings, world: World, console: Console) -> dict[str, Any]:
    from l07.cli.demo_progress import DemoProgress
    from l07.cli.send import send_file
    from l07.service.loop import run_loop

    started = time.monotonic()
    sent = await send_file(world.events, settings)
    console.note(f"sent {sent} events")
    with DemoProgress(console) as progress:
        result = await run_loop(settings, until="idle", progress=progress)
    return {"stopped": result["stopped"], "seconds": {**progress.seconds(), "send": progress.started - started}}


async def _page(settings: Settings, world: World, *, seconds: Mapping[str, float]) -> dict[str, Any]:
    from l07.cli.demo_page import page

    return await page(settings, counts=world.counts, seconds=seconds)


Progress = Callable[[Mapping[str, Any]], None]
