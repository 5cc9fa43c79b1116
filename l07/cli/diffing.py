"""`l07 datasets diff`: two versions side by side."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.cli import views
from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.things import all_views
from l07.errors import DatasetRevoked, NothingByThatName
from l07.settings import Settings

MOST = 10  # rows of a table that a person gets to see, unless he asks for more


def diff(args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName (E7903), DatasetChanged (E7102), DatasetUnreadable (E7103)."""
    from l07.backends.parquet_rows import read_sides
    from l07.domain.difference import difference

    settings = loaded(args).settings
    folders = folder_of(settings, args.old), folder_of(settings, args.new)
    rows = args.rows if args.rows is not None else -1 if console.as_json else MOST
    found = difference(*read_sides(*folders), rows=rows)
    if console.as_json:
        console.data(found)
    else:
        _print(found, console)
    return 0


def folder_of(settings: Settings, name: str) -> Path:
    """Where a version lies: "TRACK:VERSION", "TRACK" for its newest, or the path of a folder with a manifest.

    Raises NothingByThatName (E7903); DatasetRevoked (E7122), whose files are gone."""
    from l07.backends.open import open_store

    known = asyncio.run(all_views(settings))["datasets"]
    view = views.pick(known, name)
    if view is not None and "revoked" in view:
        successor = view["revoked"]["successor"]
        text = f"{view['id']} was revoked: data had to be erased from it; {successor} is the version without them"
        raise DatasetRevoked(text, id=view["id"])
    if view is not None:
        return open_store(settings).path(str(view["uri"]))
    if (Path(name) / "manifest.json").is_file():
        return Path(name)
    here = ", ".join(list(known)[-3:]) or "none yet"
    raise NothingByThatName(f"there is no dataset {name}, nor a folder of one; the newest are: {here}", id=name)


def _print(found: Mapping[str, Any], console: Console) -> None:
    old, new, rows = found["from"], found["to"], found["rows"]
    console.line(f"{_name(old)} -> {_name(new)}: {found['level']}")
    console.line(f"digest {old['digest']}\n    -> {new['digest']}{', the same rows' if found['same'] else ''}")
    console.line(f"rows in the splits: {rows['added']} added, {rows['removed']} removed, {rows['altered']} altered")
    _numbers("why rows left", "reason", found["removed_reasons"], console)
    _numbers("what was altered", "field", found["altered_fields"], console)
    _numbers("moved", "table", found["moved"], console)
    groups = found["groups"]
    console.line(f"groups: {groups['new']} new, {groups['merged']} merged")
    merges = [[merge["into"], merge["split"], ", ".join(merge["from"])] for merge in groups["merges"]]
    console.table(["group", "split", "made of"], merges)
    settings = [[name, *pair] for name, pair in found["settings"].items()]
    console.table(["setting", "before", "now"], settings, title="settings that differ")
    counts = [[kind, name, *pair] for kind, both in found["counts"].items() for name, pair in both.items()]
    console.table(["rows by", "value", "before", "now"], counts)
    _print_rows(found, console)


def _print_rows(found: Mapping[str, Any], console: Console) -> None:
    for name in ("added", "removed"):
        columns = list(found[name][0]) if found[name] else []
        listed = [[row[column] for column in columns] for row in found[name]]
        console.table(columns, listed, title=_of(name, found))
    altered = [[row["key"], row["fields"]] for row in found["altered"]]
    console.table(["key", "before, now"], altered, title=_of("altered", found))


def _of(name: str, found: Mapping[str, Any]) -> str:
    return f"{name}: {len(found[name])} of {found['rows'][name]}"


def _name(head: Mapping[str, Any]) -> str:
    return f"{head['dataset']}:{head['version']}"


def _numbers(title: str, column: str, counts: Mapping[str, int], console: Console) -> None:
    console.table([column, "rows"], list(counts.items()), title=title)
