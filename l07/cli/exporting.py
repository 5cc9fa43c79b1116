"""`l07 datasets export`: a version for other trainers."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.diffing import folder_of


def export(args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName (E7903), OutputTaken (E7920), BadExport (E7921), NothingToExport (E7922), and what
    reading raises."""
    from l07.backends.exporting import ExportRequest
    from l07.backends.exporting import export as write
    from l07.backends.parquet import read_manifest

    settings = loaded(args).settings
    folder = folder_of(settings, args.id)
    manifest = read_manifest(folder)
    name = f"{manifest['dataset']}-{manifest['version']}-{args.shape}"
    output = Path(args.out) if args.out else settings.data_dir / "exports" / name
    said = write(ExportRequest(folder, args.shape, output, tuple(args.split), force=args.force))
    if console.as_json:
        console.data(said)
    else:
        _print(said, console)
    return 0


def _print(said: Mapping[str, Any], console: Console) -> None:
    console.line(f"{said['dataset']}:{said['version']} for {said['for']}: {said['output']}")
    rows = [[split, tally["rows"], sum(tally["left_out"].values())] for split, tally in said["splits"].items()]
    console.table(["split", "rows", "left out"], rows)
    reasons = [
        [split, what, reason, number]
        for split, tally in said["splits"].items()
        for what in ("left_out", "notes")
        for reason, number in tally[what].items()
    ]
    console.table(["split", "what", "reason", "rows"], reasons)
