"""`l07 forget`: a person's right, or a source's end."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from l07.cli.access import loaded, person
from l07.cli.console import Console


def forget(args: argparse.Namespace, console: Console) -> int:
    """Exit 0 once it is done. What is left in files that are not ours is named, and is no error.

    Raises BadErasure (E7124), FileNotRewritten (E7125), ErasureOpen (E7126), and what the backends raise."""
    from l07.service import forgetting

    settings = loaded(args).settings
    if args.resume:
        found = asyncio.run(forgetting.resume(settings, wait_s=args.wait))
    else:
        ask = forgetting.asked(execution=args.execution, plan=args.plan, subject=args.subject, source=args.source)
        if args.dry_run:
            found = asyncio.run(forgetting.count(settings, ask))
        else:
            work = forgetting.order_erasure(settings, ask, reason=args.reason, by=person(), wait_s=args.wait)
            found = asyncio.run(work)
    if console.as_json:
        console.data(found)
    else:
        _print(found, console)
    return 0


def _print(found: Mapping[str, Any], console: Console) -> None:
    if found.get("dry_run"):
        _print_counts(found, console)
        return
    if found.get("already"):
        console.line(f"already ordered at {found['ordered_at']} by {found['by']}: looked through once more")
    _print_counts(found["gone"], console)
    _print_exports(found["exports"], console)
    for hit in found.get("left", ()):
        console.line(f"still named in {hit['file']}, {hit['times']} times")
    for record in found.get("remains", ()):
        until = (
            f"until retention takes it, {record['until']}" if record["until"] else "for as long as the topic keeps it"
        )
        console.line(f"still on the bus at {record['at']}, {until}")
    if not found.get("left"):
        console.line("nothing in the data folder or in an export names it any more")


def _print_exports(exports: Sequence[Mapping[str, Any]], console: Console) -> None:
    for export in exports:
        said = f"{export['format']} of {export['dataset_id']} at {export['path']}"
        console.line(f"export deleted: {said}" if export["deleted"] else f"export not deleted: {said}")
        for file, why in export["left"].items():
            console.line(f"  {file}: {why}")


def _print_counts(counts: Mapping[str, Any], console: Console) -> None:
    console.table(["where", "gone"], [[name, _short(n)] for name, n in counts.items() if name != "dry_run"])


def _short(value: Any) -> Any:
    return ", ".join(f"{key}: {n}" for key, n in value.items()) or 0 if isinstance(value, Mapping) else value
