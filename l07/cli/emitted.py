"""`l07 events`: what we emitted, as JSON lines."""

import argparse
import asyncio
import json
from typing import Any

import msgspec

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.reading import has_bus, read_topic
from l07.events.record import Record, TopicPartition
from l07.settings import Settings

LOOK_EVERY_S = 0.25


def events(args: argparse.Namespace, console: Console) -> int:
    """Oldest first. A repeat of an event (the same id) is printed again: this is the log, not a view of it."""
    settings = loaded(args).settings
    if args.follow or has_bus(settings):
        asyncio.run(_events(settings, console, only=args.type, follow=args.follow))
    return 0


async def _events(settings: Settings, console: Console, *, only: str | None, follow: bool) -> None:
    from l07.backends.open import open_bus

    position: dict[TopicPartition, int] = {}
    async with open_bus(settings, check=False) as bus:
        while True:
            async for record in read_topic(bus, settings.topics.events, position=position):
                event = event_of(record)
                if only is None or is_type(event, only):
                    console.data(event)
            console.flush()
            if not follow:
                return
            await asyncio.sleep(LOOK_EVERY_S)


def event_of(record: Record) -> Any:
    """The event as data; bytes that are no JSON come back as a text, so that nothing on the topic is hidden."""
    try:
        return msgspec.json.decode(record.value or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {
            "unreadable": json.dumps((record.value or b"").decode("utf-8", "backslashreplace")),
            "at": f"{record.tp}:{record.offset}",
        }


def is_type(event: Any, name: str) -> bool:
    """`dataset.created` also means `com.example.dataset.created`."""
    kind = event.get("type") if isinstance(event, dict) else None
    return isinstance(kind, str) and (kind == name or kind.endswith(f".{name}"))
