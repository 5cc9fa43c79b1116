"""The demo's progress: a bar a phase on a terminal, a JSON line a step elsewhere."""

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from l07.cli.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PHASES = ("ingest", "curate", "train", "validate")
LINE_EVERY_S = 2.0  # JSON lines of one phase come at most this often


class DemoProgress:
    """Takes the loop's reports. `seconds()` says how long each phase was at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._seconds: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self.started = time.monotonic()

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        if self._console.shows_progress:
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, step: Mapping[str, Any]) -> None:
        phase = str(step.get("phase"))
        now = time.monotonic()
        if phase == "ingest":
            self._seconds[phase] = now - self.started
        self._seconds[phase] = self._seconds.get(phase, 0.0) + float(step.get("seconds", 0.0))
        if self._bars is not None:
            self._draw(self._bars, phase, step)
        elif now - self._told.get(phase, 0.0) >= LINE_EVERY_S or "seconds" in step or step.get("sealed"):
            self._told[phase] = now
            self._console.note(json.dumps(dict(step), default=str))

    def seconds(self) -> dict[str, float]:
        """How long each phase was at work; curation runs beside the ingest."""
        return dict(self._seconds)

    def _draw(self, bars: "Progress", phase: str, step: Mapping[str, Any]) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = bars.add_task(phase, total=None, note="")
        task = self._tasks[phase]
        if "steps" in step and "step" in step:
            loss = step.get("loss")
            bars.update(
                task,
                completed=step["step"],
                total=step["steps"],
                note=f"loss {loss:.3f}" if isinstance(loss, float) else "",
            )
        else:
            done = 1.0 if "seconds" in step else float(step.get("records") or 0)
            bars.update(task, advance=done, note=str(step.get("subject") or ""))


def _bars() -> "Progress":
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=RichConsole(stderr=True))
