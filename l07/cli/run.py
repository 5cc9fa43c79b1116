"""`l07 run`: the whole loop in one process, told line by line."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from l07.cli import INTERRUPTED
from l07.cli.access import loaded
from l07.cli.console import Console

REDRAW_EVERY_S = 0.2


def run(args: argparse.Namespace, console: Console) -> int:
    """Exit 130 when it was stopped; the next run goes on there. Raises Fatal and Refused errors of the loop."""
    from l07.service.loop import run_loop

    settings = loaded(args).settings
    until: Literal["forever", "idle", "dataset"] = "idle" if args.until_idle else args.until or "forever"
    teller = Teller(console)
    try:
        result = asyncio.run(run_loop(settings, until=until, progress=teller))
    finally:
        console.end_progress()
    if console.as_json:
        console.data({"result": dict(result), "records": teller.records, "counts": dict(teller.counts)})
    else:
        console.line(teller.summary())
    return INTERRUPTED if result.get("stopped") else 0


class Teller:
    """Reports to people: a step is a line on stderr; single batches only redraw one line of a terminal."""

    def __init__(self, console: Console) -> None:
        self.records = 0
        self.counts: Counter[str] = Counter()
        self._console = console
        self._drawn = 0.0

    def __call__(self, step: Mapping[str, Any]) -> None:
        """`step` has a `phase`; what else it has depends on that. It never holds a prompt."""
        if step.get("phase") == "ingest":
            self._ingested(step)
            return
        rest = ", ".join(f"{name} {_short(value)}" for name, value in step.items() if name != "phase")
        self._say(f"{step.get('phase', 'run')}: {rest}")

    def summary(self) -> str:
        """`waiting` is a change: negative where halves of an earlier run found their other half."""
        counts = sorted(self.counts.items())
        parts = ", ".join(
            f"{name} {count:+d}" if name == "waiting" else f"{name} {count}" for name, count in counts if count
        )
        return f"{self.records} records" + (f": {parts}" if parts else "")

    def _ingested(self, step: Mapping[str, Any]) -> None:
        self.records += int(step.get("records", 0))
        self.counts.update(step.get("counts", {}))
        for batch in step.get("sealed", ()):
            self._say(f"sealed: {batch}")
        now = time.monotonic()
        if now - self._drawn >= REDRAW_EVERY_S:
            self._drawn = now
            self._console.progress(f"ingest: {self.summary()}")

    def _say(self, text: str) -> None:
        self._console.end_progress()
        self._console.note(text)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
