"""What a running job says of itself: one JSON line a second at most, and a line for each state that it enters."""

import json
import time
from pathlib import Path
from typing import Any


class ProgressFile:
    """Appends to JOB_DIR/progress.jsonl; a line is written in one piece."""

    def __init__(self, folder: Path, *, every_s: float = 1.0, silent: bool = False) -> None:
        self._path = folder / "progress.jsonl"
        self._every_s, self._silent = every_s, silent
        self._last_s: float | None = None

    def state(self, name: str) -> None:
        self._append({"state": name})

    def told(self, hardware: dict[str, Any], memory: dict[str, Any]) -> None:
        """How the machine will be used, and what of its memory; once, before weights are read."""
        self._append({"hardware": hardware, "memory": memory})

    def step(self, **line: Any) -> None:
        """Skipped when the last one is less than a second old."""
        now_s = time.monotonic()
        if self._last_s is None or now_s - self._last_s >= self._every_s:
            self._last_s = now_s
            self._append(line)

    def look(self, **line: Any) -> None:
        """What was measured at held-out places; each of them."""
        self._append({"look": line})

    def _append(self, line: dict[str, Any]) -> None:
        if self._silent:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
