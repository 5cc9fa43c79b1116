"""`l07 explain EXECUTION_ID`: everything that bus, buffer, ledgers and datasets say of one run."""

import argparse
import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.explain_bus import Place, on_bus
from l07.cli.status import patiently
from l07.cli.things import all_views
from l07.cli.views import View
from l07.errors import NothingByThatName
from l07.ports import Entry, ExampleBuffer, Trail
from l07.settings import Settings

KINDS = ("execution", "plan")


def explain(args: argparse.Namespace, console: Console) -> int:
    """Reads only. Raises NothingByThatName (E7903) where nobody knows the id."""
    settings = loaded(args).settings
    try:
        story = asyncio.run(story_of(settings, args.id, scan=not args.no_scan, tell=_teller(console)))
    finally:
        console.end_progress()
    if console.as_json:
        console.data(story)
    else:
        from l07.cli.explain_text import show

        show(story, console)
    return 0


def _teller(console: Console) -> Callable[[int], None]:
    return lambda read: console.progress(f"read {read:,} records")


async def story_of(settings: Settings, ident: str, *, scan: bool, tell: Callable[[int], None]) -> dict[str, Any]:
    """The whole answer, as it is printed with --json."""
    keys = _keys(ident)
    name = keys[0].partition(":")[2]
    views = await all_views(settings)
    standing = list(_datasets(settings, views["datasets"], keys))
    held = await patiently(settings, lambda buffer, running: _trails(buffer, keys))
    trails, positions = held or ({}, {})
    trails |= {key: Trail("erased") for key in await _erased(settings, keys)}
    known = [*_places(standing), *(place for trail in trails.values() for place in trail.places)]
    bus = await on_bus(settings, name, keys, known=known, scan=scan, tell=tell)
    found = _known(keys, bus["events"], trails, standing)
    if not found and not bus["letters"] and not bus["events"]:
        raise NothingByThatName(_nothing(ident, bus["read"], scan=scan), id=ident)
    key = found[0] if found else keys[0]
    trail = trails.get(key, Trail("unknown"))
    versions = [line for line in standing if line["key"] == key]
    batches = await _batches(settings, key, trail, versions)
    story = {
        "id": key,
        "events": [_with_use(event, trail, versions, positions) for event in bus["events"]],
        "dead_letters": bus["letters"],
        "buffer": _told(trail) if held is not None or trail.state != "unknown" else None,
        "batches": batches,
        "datasets": versions,
        **_trained(views, versions),
    }
    return {"id": key, "now": conclusion(story, settings), **story}


def _keys(ident: str) -> list[str]:
    if ident.partition(":")[0] in KINDS and ident.partition(":")[2]:
        return [ident]
    return [f"{kind}:{ident}" for kind in KINDS]


def _known(
    keys: Sequence[str], events: Sequence[View], trails: Mapping[str, Trail], standing: Sequence[View]
) -> list[str]:
    there = {event.get("key") for event in events} | {line["key"] for line in standing}
    there |= {key for key, trail in trails.items() if trail.state != "unknown"}
    return [key for key in keys if key in there]


def _nothing(ident: str, read: int, *, scan: bool) -> str:
    looked = f"{read} records on the inputs were looked through" if scan else "the inputs were not looked through"
    return f"nobody knows of a run {ident}: it is in no dataset and not in the buffer; {looked}"


# ------------------------------------------------------------------ buffer


async def _trails(buffer: ExampleBuffer, keys: Sequence[str]) -> tuple[dict[str, Trail], dict[str, int]]:
    positions = {str(tp): at.next for tp, at in (await buffer.positions()).items()}
    return {key: await buffer.find(key) for key in keys}, positions


async def _erased(settings: Settings, keys: Sequence[str]) -> list[str]:
    from l07.domain.marks import KEY
    from l07.service.ingesting import open_erasures

    known = open_erasures(settings)
    await known.look()
    return [key for key in keys if known.tombstones.stands_for(KEY, key)]


def _told(trail: Trail) -> View:
    since = None if trail.since_ms is None else _time(trail.since_ms)
    said: View = {
        "state": trail.state, "half": trail.side, "since": since, "batch": trail.batch_id, "reasons": list(trail.reasons),
        "score": trail.score, "confidence": trail.confidence, "places": [_at(place) for place in trail.places],
    }  # fmt: skip
    return {name: value for name, value in said.items() if value not in (None, "", [])} | (
        {"gates": "REJECT" if trail.reasons else "ACCEPT"} if trail.score is not None and trail.batch_id else {}
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at(place: Place) -> str:
    return f"{place[0]}:{place[1]}:{place[2]}"


# ------------------------------------------------------------------ datasets


def _datasets(settings: Settings, known: Mapping[str, View], keys: Sequence[str]) -> Iterator[View]:
    """Where the run stood in each version that knows it, and what changed against the version before."""
    from l07.backends.open import open_store

    store = open_store(settings)
    before: dict[tuple[str, str], View] = {}
    for name, view in known.items():
        folder = store.path(str(view["uri"]))
        if not (folder / "manifest.json").is_file():
            continue  # erased: the ledger knows the version, its files are gone
        for line in _of_version(folder, keys):
            place = (line["key"], name.partition(":")[0])
            yield {"version": name, "at": view["at"], **line, "change": _change(before.get(place), line)}
            before[place] = line


def _of_version(folder: Path, keys: Sequence[str]) -> Iterator[View]:
    from l07.backends.parquet import read_about

    told = (
        "key",
        "task",
        "source",
        "domain",
        "quality_score",
        "confidence",
        "decision",
        "reasons",
        "batch_id",
        "scores",
    )
    for member in read_about(folder, keys):
        yield {
            **{name: member[name] for name in told},
            **{name: member.get(name) or None for name in ("model_version", "table", "split", "group")},
            **{name: member[name] or None for name in ("group_rows", "group_tasks")},
            "events": [{k: v for k, v in line.items() if v and k != "key"} for line in member["events"]],
        }


def _change(before: View | None, now: View) -> str:
    if before is None:
        return f"came into {now['table']}" if now["table"] else "never in a table"
    if before["table"] == now["table"]:
        altered = [name for name in ("quality_score", "confidence", "decision", "group") if before[name] != now[name]]
        return f"other {', '.join(altered)}" if altered and now["table"] else ""
    new = [reason for reason in now["reasons"] if reason not in before["reasons"]]
    why = f": {', '.join(new)}" if new else ""
    return f"left {before['table'] or 'nothing'}" + (f" for {now['table']}" if now["table"] else "") + why


def _places(standing: Iterable[View]) -> Iterator[Place]:
    for line in standing:
        for event in line["events"]:
            for name in ("trace_at", "score_at"):
                for place in str(event.get(name) or "").split():
                    topic, partition, offset = place.rsplit(":", 2)
                    yield topic, int(partition), int(offset)


async def _batches(settings: Settings, key: str, trail: Trail, versions: Sequence[View]) -> list[View]:
    """The batches that brought it, and what the curator made of each."""
    from l07.backends.open import open_ledger

    names = list(dict.fromkeys([*(line["batch_id"] for line in versions), trail.batch_id]))
    entries = await open_ledger(settings, "datasets").entries() if any(names) else ()
    return [{"batch": name, "entries": [_entry(e) for e in entries if _names(e, name)]} for name in names if name]


def _names(entry: Entry, batch: str) -> bool:
    return batch == entry.body.get("batch_id") or batch in (entry.body.get("batches") or ())


def _entry(entry: Entry) -> View:
    return {
        "number": entry.number,
        "kind": entry.kind,
        "key": entry.key,
        "at": entry.at,
        **({"message": entry.body["message"]} if entry.body.get("message") else {}),
    }


def _trained(views: Mapping[str, Mapping[str, View]], versions: Sequence[View]) -> dict[str, list[View]]:
    """Jobs on versions in which the row is in train, and the models that they made."""
    table = {line["version"]: line["table"] for line in versions}
    begun = [job for job in views["jobs"].values() if job["state"] != "DECLINED"]
    jobs = [job for job in begun if table.get(job["dataset"]) == "train"]
    ids = {job["id"] for job in jobs}
    models = [model for model in views["models"].values() if model.get("lineage", {}).get("job_id") in ids]
    return {
        "jobs": [{name: job.get(name) for name in ("id", "dataset", "state", "base_model", "at")} for job in jobs],
        "models": [{name: model.get(name) for name in ("id", "stage", "verdict", "at")} for model in models],
    }


# ------------------------------------------------------------------ what it comes to


def _with_use(event: View, trail: Trail, versions: Sequence[View], positions: Mapping[str, int]) -> View:
    """Whether this record is the one that counts, was passed over, or was not read yet."""
    used = {_at(place) for place in (*_places(versions), *trail.places)}
    partition, _, offset = event["at"].rpartition(":")
    if event["at"] in used:
        use = "waits" if trail.state == "waiting" else "counts"
    elif int(offset) >= positions.get(partition, 0):
        use = "not read yet"
    elif event["part"] in ("unreadable", "ignored"):
        use = event["part"]
    elif used:
        use = "passed over: a repeat, or another counts more"
    else:
        use = "read"
    return {**event, "use": use}


def conclusion(story: Mapping[str, Any], settings: Settings) -> str:
    """One sentence: where the run stands now."""
    versions = story["datasets"]
    if versions:
        return _in_dataset(versions[-1])
    buffer = story["buffer"] or {"state": "unknown"}
    state = buffer["state"]
    if state == "waiting":
        other = "trace" if buffer["half"] == "score" else "score"
        days = settings.join.wait_s / 86400
        return f"still waiting since {buffer['since']} for its {other}; it expires {days:g} days after that"
    if state in ("open", "sealed", "released"):
        return _in_batch(buffer, story["batches"])
    if state in WORDS:
        return WORDS[state]
    return _on_bus(story)


WORDS = {
    "full": "rejected by a gate, when its batch kept no more rejected runs; it is counted, and nothing of it is kept",
    "expired": "expired: its other half did not come in time",
    "erased": "erased by `l07 forget`, and kept out for ever",
}


def _in_dataset(line: View) -> str:
    why = f" ({', '.join(line['reasons'])})" if line["reasons"] else ""
    where = (
        f"in {line['table']} of {line['version']}"
        if line["table"]
        else f"known to {line['version']}, and in no table of it"
    )
    return f"{where}: {line['decision']}{why}"


def _in_batch(buffer: View, batches: Sequence[View]) -> str:
    gates = f"; the gates say {buffer['gates']}" if buffer.get("gates") else ""
    gates += f" ({', '.join(buffer['reasons'])})" if buffer.get("reasons") else ""
    if buffer["state"] == "open":
        return f"joined, in the open batch {buffer['batch']}{gates}"
    pending = [e for batch in batches for e in batch["entries"] if e["kind"] == "batch.pending"]
    if pending:
        return f"in batch {buffer['batch']}, which waits: {pending[-1].get('message', 'it joins the next')}{gates}"
    return f"in batch {buffer['batch']}, {buffer['state']} and in no dataset yet{gates}"


def _on_bus(story: Mapping[str, Any]) -> str:
    uses = {event["use"] for event in story["events"]}
    if "not read yet" in uses:
        return "on the bus, and not read yet"
    if story["dead_letters"] or "unreadable" in uses:
        return "dead letter: nothing of it could be read"
    if "ignored" in uses:
        why = next(event["why"] for event in story["events"] if event["use"] == "ignored")
        return f"read and left aside: {why}"
    return "read, and forgotten since: no dataset has it, and the buffer does not remember it"
