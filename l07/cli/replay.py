"""`l07 replay`: records of the input topics once more, to another bus or into a buffer that lost them."""

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.lines import check_readable, lines_of
from l07.cli.routing import Router
from l07.errors import BadReplay, NoLiveBuffer, NothingToReplay
from l07.events.record import Message, TopicPartition
from l07.pipeline.replay import Counted, Pace, Span, accept_reset, count, from_lines, spans, to_buffer, to_bus
from l07.ports import Bus
from l07.settings import Settings


def replay(args: argparse.Namespace, console: Console) -> int:
    """Exit 0 when everything was read. Raises BadReplay (E7908), NothingToReplay (E7909), ReplayBeyond (E7907)."""
    settings = loaded(args).settings
    types = _types(args.filter)
    if types and not (args.to_bus or args.file or args.dry_run):
        raise BadReplay(
            "--filter leaves records out, and a buffer that passed them would never get them: name --to-bus, or --dry-run"
        )
    try:
        work = _replay_file if args.file else _replay
        found = asyncio.run(work(args, settings, types, console))
    finally:
        console.end_progress()
    if console.as_json:
        console.data(found)
    else:
        _print(found, console)
    return 0


def _types(filters: Sequence[str]) -> tuple[str, ...]:
    wrong = next((text for text in filters if not text.startswith("type=") or text == "type="), None)
    if wrong is not None:
        raise BadReplay(f"--filter {wrong}: it is type=NAME, such as type=execution.completed", filter=wrong)
    return tuple(text.removeprefix("type=") for text in filters)


async def _replay(
    args: argparse.Namespace, settings: Settings, types: Sequence[str], console: Console
) -> dict[str, Any]:
    from l07.backends.open import open_bus

    async with open_bus(settings, check=False) as bus:
        wanted = await _wanted(args, settings, bus)
        if args.accept_reset:
            return await _accept_reset(settings, bus, wanted)
        if args.dry_run:
            counted = await count(bus, wanted, types=types, stored=await _stored(settings))
            return _answer("dry_run", wanted, counted)
        total = sum(span.end - span.start for span in wanted)
        tell = _teller(console, total)
        if args.to_bus:
            target = _other(settings, args.to_bus)
            async with open_bus(target) as other:
                counted = await to_bus(bus, other, wanted, types=types, pace=Pace(args.rate), tell=tell)
            return _answer("to_bus", wanted, counted)
        return _answer("to_buffer", wanted, await _into_buffer(args, settings, bus, wanted, tell))


async def _replay_file(
    args: argparse.Namespace, settings: Settings, types: Sequence[str], console: Console
) -> dict[str, Any]:
    """Lines go onto `--to-bus`, or onto the bus of the settings, as `l07 send` puts them there."""
    from l07.backends.open import open_bus

    if args.accept_reset or args.topics or args.from_ != "earliest":
        raise BadReplay("--file takes no --topics, --from or --accept-reset: a line's type says its topic")
    for name in args.file:
        check_readable(name)
    tell = _teller(console, 0)
    if args.dry_run:
        counted = await from_lines(_messages(args.file, settings), None, types=types, pace=Pace(), tell=tell)
        return _answer("dry_run", (), counted)
    async with open_bus(_other(settings, args.to_bus) if args.to_bus else settings) as bus:
        lines = _messages(args.file, settings)
        return _answer("to_bus", (), await from_lines(lines, bus, types=types, pace=Pace(args.rate), tell=tell))


def _messages(names: Sequence[str], settings: Settings) -> Iterator[Message]:
    router = Router(settings)
    for name in names:
        for line in lines_of(name):
            if line.data is not None and line.data.strip():
                yield router.message(line.data, timestamp_ms=time.time_ns() // 1_000_000)


def _other(settings: Settings, url: str) -> Settings:
    """The same settings with another bus. Raises BadSetting (E7501) for a URL that nobody can open."""
    bus = settings.bus.model_copy(update={"url": url})
    return settings.model_copy(update={"bus": bus})


async def _wanted(args: argparse.Namespace, settings: Settings, bus: Bus) -> list[Span]:
    from l07.routes import input_topics

    topics, only = _topics(args.topics or list(input_topics(settings)))
    offset, time_ms = _from(args.from_)
    found = await spans(bus, topics, offset=offset, time_ms=time_ms)
    wanted = [span for span in found if not only[span.tp.topic] or span.tp.partition in only[span.tp.topic]]
    if not wanted:
        raise NothingToReplay(f"there is no topic {', '.join(topics)} on this bus", topics=topics)
    return wanted


def _topics(names: Sequence[str]) -> tuple[list[str], dict[str, set[int]]]:
    """Topics, and for each the partitions that were named; none: all."""
    only: dict[str, set[int]] = {}
    for name in names:
        topic, _, partition = name.rpartition(":")
        if topic and partition.isdecimal():
            only.setdefault(topic, set()).add(int(partition))
        else:
            only.setdefault(name, set())
    return list(only), only


def _from(text: str) -> tuple[int | None, int | None]:
    """(offset, time in milliseconds), one of them or neither."""
    if text == "earliest":
        return None, None
    if text.isdecimal():
        return int(text), None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise BadReplay(f"--from {text}: it is `earliest`, an offset, or a time such as 2026-11-23T09:00:00Z") from err
    if at.tzinfo is None:
        raise BadReplay(f"--from {text}: a time needs its zone, such as {text}Z or {text}+02:00")
    return None, int(at.timestamp() * 1000)


async def _stored(settings: Settings) -> Mapping[TopicPartition, int]:
    """What the buffer has: a server's, a running `l07 run`'s, or the folder's own, started for the reading."""
    from l07.backends.open import buffer_alone, has_buffer, open_buffer

    if not has_buffer(settings):
        return {}
    try:
        async with open_buffer(settings, attach=True) as buffer:
            return {tp: at.next for tp, at in (await buffer.positions()).items()}
    except NoLiveBuffer:
        async with buffer_alone(settings) as buffer:
            return {tp: at.next for tp, at in (await buffer.positions()).items()}


async def _into_buffer(
    args: argparse.Namespace, settings: Settings, bus: Bus, wanted: Sequence[Span], tell: Any
) -> Counted:
    from l07.backends.open import held_folder, open_buffer
    from l07.pipeline.ingest import ingest_rules
    from l07.service.ingesting import open_erasures

    async with AsyncExitStack() as stack:
        stack.enter_context(held_folder(settings, purpose="l07 replay"))
        buffer = await stack.enter_async_context(open_buffer(settings))
        erasures = open_erasures(settings)
        await erasures.look()
        rules = replace(ingest_rules(settings, cluster=bus.cluster), tombstones=erasures.tombstones)
        return await to_buffer(bus, buffer, wanted, rules=rules, pace=Pace(args.rate), tell=tell)


async def _accept_reset(settings: Settings, bus: Bus, wanted: Sequence[Span]) -> dict[str, Any]:
    from l07.backends.open import held_folder, open_buffer

    with held_folder(settings, purpose="l07 replay"):
        async with open_buffer(settings) as buffer:
            moved = await accept_reset(bus, buffer, wanted)
    rows = [{"partition": str(tp), "was": was, "now": now} for tp, (was, now) in sorted(moved.items())]
    return {"mode": "accept_reset", "partitions": rows}


def _teller(console: Console, total: int) -> Any:
    def tell(counted: Counted) -> None:
        share = f" ({100 * counted.total // total} %)" if total else ""
        console.progress(f"replayed {counted.total:,} records{share}")

    return tell


def _answer(mode: str, wanted: Sequence[Span], counted: Counted) -> dict[str, Any]:
    places = [{"partition": str(span.tp), "from": span.start, "to": span.end} for span in wanted]
    return {"mode": mode, "spans": places, **counted.as_data()}


def _print(found: Mapping[str, Any], console: Console) -> None:
    if found["mode"] == "accept_reset":
        console.table(["partition", "was", "now"], [[r["partition"], r["was"], r["now"]] for r in found["partitions"]])
        console.line("the ingest goes on there within half a minute, or when it is started again")
        return
    rows = [[s["partition"], s["from"], s["to"], found["partitions"].get(s["partition"], 0)] for s in found["spans"]]
    console.table(["partition", "from", "to", "records"], rows)
    console.table(["type", "records"], sorted(found["types"].items()), title="\ntypes")
    told = {
        "dry_run": f"{found['read']} records would be replayed",
        "to_bus": f"{found['sent']} of {found['read']} records sent; what the ingest there knows, it counts as duplicates",
        "to_buffer": f"{found['read']} records: {_fates(found)}",
    }
    console.line(told[found["mode"]])
    if found["mode"] != "to_bus":
        console.line(f"{found['applied_before']} of them were applied before, by their offsets: these change nothing")


def _fates(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {n}" for name, n in found["fates"].items()) or "nothing changed"
