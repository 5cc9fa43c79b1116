"""How a command reaches the settings and the data folder."""

import argparse
import getpass
from pathlib import Path
from typing import Any

from l07.settings import Loaded, load_settings


def loaded(args: argparse.Namespace) -> Loaded:
    """Settings for this call, and logging as they ask for it. Raises E7500 or E7501."""
    from l07.telemetry import log_to_stderr

    overrides: dict[str, Any] = {}
    if args.data_dir is not None:
        overrides["data_dir"] = args.data_dir
    for name in ("bus", "buffer"):
        if getattr(args, name) is not None:
            overrides[f"{name}.url"] = getattr(args, name)
    found = load_settings(file=Path(args.config) if args.config else None, overrides=overrides)
    log_to_stderr(found.settings.log_level)
    return found


def person() -> str:
    """Who asks, for a ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
