import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

from l07 import telemetry
from l07.cli import main


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Each test in its own folder, without settings from outside and without log handlers left behind."""
    for name in list(os.environ):
        if name.startswith("L07_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(telemetry.log, "handlers", [])
    monkeypatch.setattr(telemetry.log, "level", telemetry.log.level)


@pytest.fixture
def l07(capfdbinary) -> Callable[..., Said]:
    """Run a command in this process; what it said is text."""

    def call(*argv: object) -> Said:
        try:
            status = main([str(word) for word in argv])
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return Said(status, out.decode("utf-8", "backslashreplace"), err.decode("utf-8", "backslashreplace"))

    return call
