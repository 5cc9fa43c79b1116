"""`l07 datasets audit`: what the filter catches, misses and loses, measured on somebody's own runs."""

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.demo_progress import DemoProgress
from l07.cli.lines import check_readable, lines_of
from l07.errors import BadAudit, InputMissing, TooFewGroups, disk_errors
from l07.settings import Settings

if TYPE_CHECKING:
    from l07.service.auditing import Input


def audit(args: argparse.Namespace, console: Console) -> int:
    """Exit 0 whatever the figures say. Raises BadAudit (E7910), InputMissing (E7900), TooFewGroups (E7101) where no
    version can be built at all."""
    from l07.cli.audit_table import told
    from l07.domain.plants.plan import parse_rates
    from l07.service.auditing import Audit

    rates = {} if args.plant is None else parse_rates(args.plant)
    settings = loaded(args).settings
    with DemoProgress(console) as progress:
        given = asyncio.run(_read(args.inputs, settings, progress))
        if not given.rows:
            raise BadAudit(f"{', '.join(args.inputs)}: no run with both a trace and a score; {told(given.counts())}")
        truth = _truth(args.truth, given) if args.truth else {}
        report = asyncio.run(_audit(given, Audit(rates, args.seed, args.half or "", truth), settings, progress))
    report = {"of": args.inputs, **report}
    if not report["versions"] and report["refused"]:
        raise TooFewGroups(report["refused"][0]["message"])
    if args.out:
        _write(report, Path(args.out))
    if console.as_json:
        console.data(report)
    else:
        from l07.cli.audit_table import show

        show(report, console, out=args.out)
    return 0


async def _audit(given: "Input", asked: Any, settings: Settings, progress: DemoProgress) -> dict[str, Any]:
    from l07.backends.open import open_curator
    from l07.service.auditing import audit as run

    async with open_curator(settings) as curator:
        return await run(given, asked, settings, curator=curator, progress=progress)


async def _read(inputs: Sequence[str], settings: Settings, progress: DemoProgress) -> "Input":
    """Files where there are files of these names; else a dataset that the ledger knows."""
    from l07.service.auditing import read_dataset, read_events

    if len(inputs) == 1 and inputs[0] != "-" and not Path(inputs[0]).exists():
        folder = await _dataset(inputs[0], settings)
        return read_dataset(folder, inputs[0].partition(":")[0], settings)
    for name in inputs:
        check_readable(name)
    return read_events(_lines(inputs), settings, progress)


async def _dataset(name: str, settings: Settings) -> Path:
    from l07.backends.open import open_ledger, open_store
    from l07.cli.views import datasets, pick

    known = datasets(await open_ledger(settings, "datasets").entries())
    view = pick(known, name)
    if view is None:
        here = ", ".join(list(known)[-3:]) or "none yet"
        raise InputMissing(f"there is no file {name}, and no dataset of that name; the newest are: {here}", file=name)
    return open_store(settings).path(str(view["uri"]))


def _lines(inputs: Sequence[str]) -> Iterator[bytes]:
    for name in inputs:
        for line in lines_of(name):
            if line.data is not None and line.data.strip():
                yield line.data


def _truth(name: str, given: "Input") -> Mapping[str, str]:
    from l07.pipeline.audit.truth import from_field, from_lines

    rows = [row for found in given.rows.values() for row in found]
    if Path(name).is_file():
        return from_lines(((line.number, line.data or b"") for line in lines_of(name)), rows, file=name)
    return from_field(name, rows)


def _write(report: Mapping[str, Any], folder: Path) -> None:
    from l07.pipeline.audit.page import as_page

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(report, indent=1, default=str) + "\n", "utf-8")
        (folder / "report.html").write_text(as_page(report), "utf-8")
