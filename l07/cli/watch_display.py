"""A job on a terminal: how far it is, what it measures, and the way of its loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from l07.cli.console import Console, printable
from l07.cli.curves import blocks

FIRST = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_s", "epoch")
NOT_A_MEASURE = frozenset({"job", "dataset", "state", "attempt", "step", "steps", "eta_s", "code", "reason", "message"})
WAYS = ("loss", "grad_norm")
SHOWN = 500  # values of a way that are kept


@dataclass(slots=True)
class Display:
    """Redrawn a few times a second until it is left; the last picture stays."""

    console: Console
    said: dict[str, Any] = field(default_factory=dict)
    ways: dict[str, list[float]] = field(default_factory=dict)
    live: Live | None = None

    def __enter__(self) -> "Display":
        self.live = Live(self.picture(), console=self.console.rich(), refresh_per_second=4, transient=False)
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.live is not None
        self.live.stop()

    def show(self, line: Mapping[str, Any]) -> None:
        self.take(line)
        if self.live is not None:
            self.live.update(self.picture())

    def take(self, line: Mapping[str, Any]) -> None:
        if line.get("attempt", self.said.get("attempt")) != self.said.get("attempt"):
            self.ways.clear()
        self.said |= line
        for name in WAYS:
            if isinstance(line.get(name), int | float):
                self.ways[name] = [*self.ways.get(name, []), float(line[name])][-SHOWN:]

    def picture(self) -> RenderableType:
        said = self.said
        head = Text(
            " ".join(printable(str(said[name])) for name in ("job", "dataset", "state") if said.get(name)), style="bold"
        )
        parts: list[RenderableType] = [head]
        if said.get("attempt"):
            head.append(f"  attempt {said['attempt']}", style="dim")
        if said.get("steps"):
            parts.append(self._bar(int(said["step"]), int(said["steps"])))
        if measures := self._measures():
            parts.append(measures)
        for name in ("code", "reason", "message"):
            if said.get(name):
                parts.append(Text(printable(str(said[name])), style="red" if said.get("state") == "FAILED" else "dim"))
        return Group(*parts)

    def _bar(self, step: int, steps: int) -> Table:
        row = Table.grid(padding=(0, 1))
        eta = self.said.get("eta_s")
        left = (
            f"{_seconds(float(eta))} left"
            if isinstance(eta, int | float) and self.said.get("state") != "COMPLETED"
            else ""
        )
        row.add_row(ProgressBar(total=steps, completed=step, width=40), f"step {step} of {steps}", left)
        return row

    def _measures(self) -> Table | None:
        names = [name for name in FIRST if name in self.said]
        names += sorted(name for name in self.said if name not in NOT_A_MEASURE and name not in FIRST)
        if not names:
            return None
        table = Table.grid(padding=(0, 2))
        for name in names:
            value = self.said[name]
            shown = f"{value:.4g}" if isinstance(value, int | float) else printable(str(value))
            table.add_row(Text(name, style="dim"), Text(shown), Text(blocks(self.ways.get(name, []))))
        return table


def _seconds(seconds: float) -> str:
    """To be read at a glance: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
