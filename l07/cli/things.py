"""`l07 datasets|jobs|models list|show`: what the ledgers know, with its lineage down to events and offsets."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from l07.cli import at_work, views
from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.curves import curve, readable
from l07.cli.lineage import Lineage
from l07.cli.views import View
from l07.errors import NothingByThatName
from l07.ports import Entry
from l07.settings import Settings

FOLDS: Mapping[str, tuple[str, Callable[[Sequence[Entry]], dict[str, View]]]] = {
    "datasets": ("datasets", views.datasets),
    "jobs": ("jobs", views.jobs),
    "models": ("registry", views.models),
}
COLUMNS = {
    "datasets": ("id", "state", "splits", "added", "removed", "exports", "digest", "at"),
    "jobs": (
        "id",
        "dataset",
        "state",
        "attempt",
        "preempted",
        "priority",
        "method",
        "base_model",
        "owner",
        "code",
        "reason",
        "at",
    ),
    "models": ("id", "stage", "verdict", "tainted", "at"),
}


def list_datasets(args: argparse.Namespace, console: Console) -> int:
    return _list("datasets", args, console)


def list_jobs(args: argparse.Namespace, console: Console) -> int:
    return _list("jobs", args, console)


def list_models(args: argparse.Namespace, console: Console) -> int:
    return _list("models", args, console)


def show_datasets(args: argparse.Namespace, console: Console) -> int:
    return _show("datasets", args, console)


def show_jobs(args: argparse.Namespace, console: Console) -> int:
    return _show("jobs", args, console)


def show_models(args: argparse.Namespace, console: Console) -> int:
    return _show("models", args, console)


async def all_views(settings: Settings) -> dict[str, dict[str, View]]:
    """Everything that the ledgers know."""
    from l07.backends.open import open_ledger

    found = {what: fold(await open_ledger(settings, name).entries()) for what, (name, fold) in FOLDS.items()}
    await at_work.look(settings, found["jobs"])
    for name, exports in views.exports(await open_ledger(settings, "exports").entries()).items():
        if name in found["datasets"]:
            found["datasets"][name]["exports"] = exports
    return found


def _list(what: str, args: argparse.Namespace, console: Console) -> int:
    found = asyncio.run(all_views(loaded(args).settings))[what]
    if console.as_json:
        console.data({what: list(found.values())})
        return 0
    columns = [name for name in COLUMNS[what] if any(name in view for view in found.values())]
    console.table(columns, [[_short(view.get(name)) for name in columns] for view in found.values()])
    if not found:
        console.line(f"no {what} yet")
    return 0


def _short(value: Any) -> Any:
    """A list is its length."""
    return len(value) if isinstance(value, list) else value


def _show(what: str, args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName: E7903."""
    settings = loaded(args).settings
    known = asyncio.run(all_views(settings))
    view = views.pick(known[what], args.id)
    if view is None:
        here = ", ".join(list(known[what])[-3:]) or "none yet"
        raise NothingByThatName(f"there is no {what[:-1]} {args.id}; the newest are: {here}", id=args.id)
    if what == "datasets":
        view = view | _of_dataset(settings, known[what], view)
    lineage = Lineage(settings, known, rows=args.rows).of(what, view)
    if console.as_json:
        console.data({what[:-1]: view, "lineage": lineage})
        return 0
    _print(what[:-1], view, lineage, console)
    return 0


def _of_dataset(settings: Settings, known: Mapping[str, View], view: View) -> View:
    """Where its card lies, and how much of each version of the track up to this one our own models did."""
    from l07.backends.open import open_store

    card = open_store(settings).path(str(view["uri"])) / "README.md"
    names = list(known)[: list(known).index(view["id"]) + 1]
    versions = [known[name] for name in names if known[name]["dataset"] == view["dataset"]]
    trend = [{"version": one["version"], "share": one["own_share"]} for one in versions if "own_share" in one]
    found = ({"card": str(card)} if card.is_file() else {}) | ({"own_trend": trend} if trend else {})
    return found | ({"exports": [_looked_at(one) for one in view["exports"]]} if "exports" in view else {})


def _looked_at(export: View) -> View:
    """With what became of its files, as seen from here."""
    from l07.pipeline.forget.exports import state_of

    states = Counter(state_of(Path(path), digest) for path, digest in export["files"].items())
    if export["erased"]:
        states["erased"] = export["erased"]
    return {name: value for name, value in export.items() if name not in ("files", "erased")} | {"files": dict(states)}


def _print(one: str, view: View, lineage: Mapping[str, Any], console: Console) -> None:
    told = {name: value for name, value in view.items() if name != "entries"}
    if "own_trend" in told:
        told["own_trend"] = curve([point["share"] or 0.0 for point in told["own_trend"]])
    console.fields(readable(told), title=f"{one} {view['id']}")
    columns = ("number", "kind", "at", "hash")
    console.table(columns, [[entry[name] for name in columns] for entry in view["entries"]], title="ledger")
    for name in ("job", "dataset"):
        if name in lineage:
            console.fields(readable({k: v for k, v in lineage[name].items() if k != "entries"}), title=f"from {name}")
    if "events" in lineage:
        _print_events(lineage["events"], console)


def _print_events(events: Mapping[str, Any], console: Console) -> None:
    console.line(f"from {events['events']} events in {events['rows']} rows")
    spans = [[name, span["records"], span["first"], span["last"]] for name, span in events["partitions"].items()]
    console.table(["partition", "records", "first offset", "last offset"], spans)
    columns = list(events["sample"][0]) if events["sample"] else []
    console.table(columns, [[row[name] for name in columns] for row in events["sample"]])
