"""`l07 ledger verify`: is every entry what it was when it was announced?"""

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.reading import has_bus, read_topic
from l07.errors import LedgerDiffers
from l07.settings import Settings

LEDGER_OF_TYPE = {
    "dataset": "datasets",
    "training": "jobs",
    "model": "registry",
}  # by the first word of an event's type


class _Head(msgspec.Struct):
    type: str
    ledgerseq: int | str | None = None
    ledgerhash: str | None = None


_head = msgspec.json.Decoder(_Head)


def verify(args: argparse.Namespace, console: Console) -> int:
    """Every ledger, by itself and against what went out. Raises LedgerDiffers: E7905, naming the first wrong entry."""
    from l07.backends.open import LEDGERS

    settings = loaded(args).settings
    published = asyncio.run(_published(settings)) if has_bus(settings) else {}
    reports = [_report(settings, name, published.get(name, {})) for name in LEDGERS]
    _print(reports, console)
    wrong = [f"{report['ledger']} {finding['number']}" for report in reports for finding in report["findings"]]
    if wrong:
        raise LedgerDiffers(f"{len(wrong)} entries are not what they were, the first is {wrong[0]}", entries=wrong)
    return 0


def _report(settings: Settings, name: str, published: Mapping[int, str]) -> dict[str, Any]:
    from l07.backends.open import ledger_root
    from l07.backends.store import verify as findings_of

    root = ledger_root(settings)
    findings = findings_of(root, name, published=published)
    return {
        "ledger": name,
        "entries": len(list((root / name).glob("[0-9]*.json"))),
        "published": max(published, default=0),
        "findings": [{"number": f.number, "what": f.what, "detail": f.detail} for f in findings],
    }


def _print(reports: list[dict[str, Any]], console: Console) -> None:
    if console.as_json:
        console.data({"ok": not any(report["findings"] for report in reports), "ledgers": reports})
        return
    console.table(
        ["ledger", "entries", "last published", "findings"],
        [[r["ledger"], r["entries"], r["published"] or None, len(r["findings"])] for r in reports],
    )
    for name, finding in _flat(reports):
        console.line(f"{name} {finding['number']}: {finding['what']}: {finding['detail']}")


def _flat(reports: list[dict[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for report in reports:
        for finding in report["findings"]:
            yield report["ledger"], finding


async def _published(settings: Settings) -> dict[str, dict[int, str]]:
    """ledger -> number -> hash, as they went out. The first word for a number counts: a repeat is the same bytes."""
    from l07.backends.open import open_bus

    found: dict[str, dict[int, str]] = {}
    async with open_bus(settings, check=False) as bus:
        async for record in read_topic(bus, settings.topics.events):
            for ledger, number, digest in _announced(record.value):
                found.setdefault(ledger, {}).setdefault(number, digest)
    return found


def _announced(value: bytes | None) -> Iterator[tuple[str, int, str]]:
    try:
        head = _head.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if head.ledgerseq is None or head.ledgerhash is None or not str(head.ledgerseq).isdecimal():
        return
    for word in head.type.split("."):  # a type may carry a prefix
        if word in LEDGER_OF_TYPE:
            yield LEDGER_OF_TYPE[word], int(head.ledgerseq), head.ledgerhash
            return
