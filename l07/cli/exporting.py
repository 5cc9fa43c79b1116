"""`l07 datasets export`: a version for other trainers."""

import argparse
import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.diffing import folder_of
from l07.settings import Settings

if TYPE_CHECKING:
    from l07.backends.exporting import Note


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
    rules = settings.contrast.rules(settings.seed)
    request = ExportRequest(folder, args.shape, output, tuple(args.split), args.order, args.force, rules)
    said = write(request, _note(settings, request.output))
    if console.as_json:
        console.data(said)
    else:
        _print(said, console)
    return 0


def _note(settings: Settings, output: Path) -> "Note":
    """Versions of this data folder alone: no erasure here revokes another one's."""
    from l07.backends.open import open_ledger
    from l07.cli.views import datasets
    from l07.domain.exports import EXPORTED
    from l07.service.ingesting import now_text

    async def record(said: Mapping[str, Any], path: Path, files: Mapping[str, str]) -> None:
        name, digest = f"{said['dataset']}:{said['version']}", said["digest"]
        known = datasets(await open_ledger(settings, "datasets").entries()).get(name)
        if known is None or known["digest"] != digest:
            return
        data = {"dataset_id": name, "digest": digest, "format": said["for"], "output": str(output), "path": str(path)}
        at = now_text()
        key = f"{name}/{said['for']}/{hashlib.sha256(f'{path} {at}'.encode()).hexdigest()[:16]}"
        ledger = open_ledger(settings, "exports")
        await ledger.append(EXPORTED, key, {"data": {**data, "files": dict(files)}}, at=at)

    return lambda *told: asyncio.run(record(*told))


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
    preference = {name: value for name, value in said.get("preference", {}).items() if name != "rules"}
    if preference:
        console.fields(preference, title="preference")
