"""`l07 jobs watch`: a job as it goes, until it is over; a display on a terminal, JSON lines elsewhere."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.cli import at_work, views
from l07.cli.access import loaded
from l07.cli.at_work import newest_attempt
from l07.cli.console import Console
from l07.cli.reading import has_bus, read_topic
from l07.cli.views import View
from l07.errors import NothingByThatName
from l07.events.record import TopicPartition
from l07.ports import Ledger
from l07.settings import Settings

LOOK_S = 0.25
OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED", "REPLACED", "DECLINED"})
STARTED, PROGRESS, COMPLETED, FAILED = "training.started", "training.progress", "training.completed", "training.failed"
Line = dict[str, Any]


def watch_job(args: argparse.Namespace, console: Console) -> int:
    """Exit 0 where it was completed, else 1. Raises NothingByThatName: E7903."""
    from l07.backends.open import is_server

    settings = loaded(args).settings
    key = asyncio.run(key_of(settings, args.id))
    if key is not None:
        lines = follow(settings, key)
    elif args.id and is_server(settings.bus.url):  # ledgers are elsewhere: what the trainer tells is on the bus
        lines = follow_bus(settings, args.id)
    else:
        raise NothingByThatName(f"there is no job {args.id or 'yet'}", id=args.id)
    return 0 if asyncio.run(show(lines, console)) == "COMPLETED" else 1


async def show(lines: AsyncIterator[Line], console: Console) -> str:
    """The state in which the job ended."""
    from l07.cli.watch_display import Display

    state = ""
    with Display(console) if console.is_terminal else _Plain(console) as display:
        async for line in lines:
            state = str(line.get("state") or state)
            display.show(line)
    return state


class _Plain:
    """A line of JSON for each thing that is new."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, line: Mapping[str, Any]) -> None:
        self._console.data(line)
        self._console.flush()


# ------------------------------------------------------------------ from the ledger and the job's folder


async def jobs_now(settings: Settings, ledger: Ledger) -> dict[str, View]:
    found = views.jobs(await ledger.entries())
    await at_work.look(settings, found)
    return {str(view["key"]): view for view in found.values()}


async def key_of(settings: Settings, name: str | None) -> str | None:
    """By id, by key, or by dataset; without a name the newest that is not over, else the newest. None: there is none."""
    from l07.backends.open import open_ledger

    jobs = list((await jobs_now(settings, open_ledger(settings, "jobs"))).values())
    if name is None:
        jobs = [job for job in jobs if job["state"] not in OVER] or jobs
    else:
        jobs = [job for job in jobs if name in (job["id"], job["key"])] or [
            job for job in jobs if name == job["dataset"]
        ]
    return str(jobs[-1]["key"]) if jobs else None


@dataclass(slots=True)
class Tail:
    """The lines that a job's attempts write, each once, whichever attempt works by now."""

    own: Path | None = None
    offset: int = 0

    def read(self, folder: Path) -> Iterable[Line]:
        newest = newest_attempt(folder)
        if self.own is not None:
            yield from self._rest(self.own)
        if newest is not None and newest != self.own:
            self.own, self.offset = newest, 0
            yield from self._rest(newest)

    def _rest(self, own: Path) -> Iterable[Line]:
        try:
            with (own / "progress.jsonl").open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:  # the child has written nothing yet
            return
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            said = _document(line)
            if "step" in said:
                yield {"attempt": int(own.name[8:]), **said}


def _document(line: bytes) -> Line:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


async def follow(settings: Settings, key: str) -> AsyncIterator[Line]:
    """Each new state and each new line of progress, until the job is over."""
    from l07.backends.open import open_ledger, open_store

    store, ledger, tail, before = open_store(settings), open_ledger(settings, "jobs"), Tail(), ""
    while True:
        job = (await jobs_now(settings, ledger))[key]
        whose = {"job": job["id"]}
        for line in tail.read(store.path(f"jobs/{job['id']}")):
            yield {**whose, **line}
        told = {name: job[name] for name in ("state", "attempt", "code", "reason", "message") if job.get(name)}
        if (now := json.dumps(told)) != before:
            before = now
            yield {**whose, "dataset": job["dataset"], **told}
        if job["state"] in OVER:
            return
        await asyncio.sleep(LOOK_S)


# ------------------------------------------------------------------ from the bus


async def follow_bus(settings: Settings, job: str) -> AsyncIterator[Line]:
    """What a trainer elsewhere publishes of the job with this id, from the beginning of what the topic holds, until its end."""
    from l07.backends.open import open_bus
    from l07.cli.emitted import event_of, is_type

    position: dict[TopicPartition, int] = {}
    if not has_bus(settings):
        return
    async with open_bus(settings, check=False) as bus:
        while True:
            async for record in read_topic(bus, settings.topics.events, position=position):
                event = event_of(record)
                if not isinstance(event, dict) or event.get("subject") != f"jobs/{job}":
                    continue
                kind = next((kind for kind in _TOLD if is_type(event, kind)), None)
                if kind is None:
                    continue
                line = {"job": job, **_TOLD[kind](event.get("data") or {})}
                yield line
                if line.get("state") in OVER:
                    return
            await asyncio.sleep(LOOK_S)


def _started(data: Line) -> Line:
    return {"state": "TRAINING", "attempt": data.get("attempt")}


def _progress(data: Line) -> Line:
    return {name: value for name, value in data.items() if name != "job_id"}


def _completed(data: Line) -> Line:
    return {"state": "COMPLETED"}


def _failed(data: Line) -> Line:
    return {
        "state": "RETRYING" if data.get("again") else "FAILED",
        "code": data.get("code"),
        "message": data.get("message"),
    }


_TOLD = {STARTED: _started, PROGRESS: _progress, COMPLETED: _completed, FAILED: _failed}
