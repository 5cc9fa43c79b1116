"""`l07 config show|check`: every setting, its value, and where it came from."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from l07.backends.address import masked
from l07.backends.open import check_urls, open_reporters
from l07.cli.access import loaded
from l07.cli.console import Console
from l07.errors import BadSetting, ReporterUnusable
from l07.settings import Loaded, Settings, leaves

MASKED = ("buffer.url", "bus.url", "training.mlflow_uri")  # a URL may hold a password


def show(args: argparse.Namespace, console: Console) -> int:
    """The whole table; what is not a default says which file or variable set it."""
    found = loaded(args)
    rows = list(_rows(found))
    if console.as_json:
        console.data({"settings": rows})
        return 0
    console.table(
        ["setting", "value", "from", "what it is"],
        [[r["name"], _text(r["value"]), r["origin"], r["description"]] for r in rows],
    )
    return 0


def check(args: argparse.Namespace, console: Console) -> int:
    """Reading them is most of the check (E7500, E7501); then what they name is tried. Exit 1 where that is wrong."""
    found = loaded(args)
    problems = list(_problems(found.settings))
    if console.as_json:
        console.data({"ok": not problems, "problems": problems, "set": dict(found.origins)})
    else:
        for problem in problems:
            console.line(problem)
        console.line(
            f"{len(list(leaves(found.settings)))} settings, {len(found.origins)} set, {len(problems)} problems"
        )
    return 1 if problems else 0


def _rows(found: Loaded) -> Iterator[dict[str, Any]]:
    for name, value, description in leaves(found.settings):
        shown = masked(value) if name in MASKED else _plain(value)
        yield {"name": name, "value": shown, "origin": _origin(name, found), "description": description}


def _origin(name: str, found: Loaded) -> str:
    """A whole table can be set at once (models.aliases, a list of a track): then its own name stands in no origin."""
    below = [origin for known, origin in found.origins.items() if known == name or known.startswith(f"{name}.")]
    return below[-1] if below else "default"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != "" else '""'


def _problems(settings: Settings) -> Iterator[str]:
    for look in (check_urls, open_reporters):
        try:
            look(settings)
        except (BadSetting, ReporterUnusable) as err:
            yield str(err)
    yield from _folder_problems(settings.data_dir)
    for name, track in settings.tracks.items():
        if track.golden and not Path(track.golden).is_file():
            yield f"tracks.{name}.golden: there is no file {track.golden}"


def _folder_problems(folder: Path) -> Iterator[str]:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        yield f"data_dir: {existing} is a file, not a folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"data_dir: {existing} cannot be written"
