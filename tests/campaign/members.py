"""The consumers: real processes, started again whenever they end, as an orchestrator would."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.ports import REPOSITORY
from tests.campaign.processes import end, spawn

GRACE_S = 30.0
REST_S = 0.5


@dataclass
class Member:
    """One place in a group. Whoever hurts it sets `wanted` first, where it shall not come back by itself."""

    name: str
    module: str
    env: Mapping[str, str]
    folder: Path
    extra: Sequence[str] = ()  # of tests.campaign.member; none: the product as it is
    wanted: bool = True
    process: "subprocess.Popen[bytes] | None" = None
    ends: Counter[str] = field(default_factory=Counter)  # how it ended by itself: exit status -> times
    _ended_at: float = 0.0

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        words = ["tests.campaign.member", *self.extra, self.module] if self.extra else [self.module]
        env = dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"} | dict(self.env)
        self.process = spawn([sys.executable, "-m", *words], self.log, env=env, cwd=REPOSITORY)

    def look(self) -> None:
        """Start it again where it is wanted and gone."""
        if not self.wanted or self.alive:
            return
        if self.process is not None:
            self.ends[str(self.process.returncode)] += 1
            self.process, self._ended_at = None, time.monotonic()
        if time.monotonic() - self._ended_at >= REST_S:
            self.start()

    def kill(self) -> None:
        end(self.process)
        self.process = None

    def signal(self, number: int) -> None:
        if self.alive and self.process is not None:
            os.kill(self.process.pid, number)

    def leave(self) -> str:
        """SIGTERM; how it went."""
        self.signal(signal.SIGTERM)
        if self.process is None:
            return "was gone"
        begun = time.monotonic()
        try:
            status = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"did not leave within {GRACE_S:.0f} s"
        self.process = None
        return f"left after {time.monotonic() - begun:.1f} s with status {status}"

    def tracebacks(self) -> list[str]:
        """The last lines of what was not caught."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        found = re.findall(r"^Traceback .*?\n(?:[ \t|+].*\n|\n)*(\S.*)$", text, re.MULTILINE)
        return [f"{self.name}: {line[:160]}" for line in found]

    def codes(self) -> Counter[str]:
        """Error codes of its log."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return Counter(re.findall(r'"code": ?"(E7\d\d\d)"', text))
