"""Erasure as a person asks for it: recorded, done here where nothing runs, else waited for, then searched for."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from l07.backends import open as backends
from l07.domain.erasure import Tombstones, order_of
from l07.domain.exports import fold
from l07.domain.marks import KEY, SOURCE, SUBJECT
from l07.errors import BadErasure, ErasureOpen, FolderInUse, NoLiveBuffer
from l07.events.cloudevents import rfc3339
from l07.pipeline import forget
from l07.pipeline.forget import buffer as in_buffer
from l07.pipeline.forget import bus as on_bus
from l07.pipeline.forget import datasets as in_datasets
from l07.pipeline.forget import exports as in_exports
from l07.pipeline.forget.datasets import Shelf
from l07.pipeline.forget.finish import Hands, finish
from l07.ports import ExampleBuffer
from l07.service.ingesting import now_text, open_erasures
from l07.service.searching import search
from l07.settings import Settings

log = logging.getLogger("l07.forget")

PURPOSE = "l07 forget"
CURATING = ("l07 run", "consumers.curate")  # who holds the folder, and does what is ordered
LOOK_S = 0.2


class Asked(NamedTuple):
    """What is to be erased: the names that stand for it are never stored or logged, only their marks are."""

    kind: str  # KEY, SUBJECT, SOURCE
    name: str  # a natural key, a subject's id, a source's URI
    needle: str  # what the search looks for; "": it would be found where nobody is meant


def asked(*, execution: str | None, plan: str | None, subject: str | None, source: str | None) -> Asked:
    """Raises BadErasure (E7124)."""
    choices = {
        Asked(KEY, f"execution:{execution}", execution or ""): execution,
        Asked(KEY, f"plan:{plan}", plan or ""): plan,
        Asked(SUBJECT, subject or "", subject or ""): subject,
        Asked(SOURCE, source or "", ""): source,
    }
    chosen = [ask for ask, said in choices.items() if said is not None]
    if len(chosen) != 1:
        raise BadErasure("name one of an execution, a plan, a subject or a source")
    if not chosen[0].name.removeprefix("execution:").removeprefix("plan:").strip():
        raise BadErasure("the id of what is to be erased is empty")
    return chosen[0]


async def order_erasure(settings: Settings, ask: Asked, *, reason: str, by: str, wait_s: float) -> dict[str, Any]:
    """Record it, see it done, search for what is left.

    Raises ErasureOpen (E7126) when it is not done within `wait_s`; it stays recorded, and whoever runs next does it.
    FolderInUse E7405 where the folder is held by who does not, FileNotRewritten E7125; SecretExposed E7120, SecretMissing E7121."""
    known, marks = open_erasures(settings), backends.open_marks(settings)
    since = len(await backends.open_ledger(settings, "exports").entries())
    erasure, already = await forget.order(known, marks, ask.kind, [ask.name], reason=reason, by=by, at=now_text())
    counts = await _see_to_it(settings, known, wait_s)
    exports = await _exports(settings, since)
    done_at = known.state.orders[erasure.key].done_at
    hits = await asyncio.to_thread(search, settings.data_dir, ask.needle, beside=await _exported(settings))
    remains = await _remaining(settings, known)
    return {
        "order": erasure.key, "ordered_at": erasure.at, "by": erasure.by, "already": already, "done_at": done_at,
        "gone": counts, "exports": exports, "left": [hit._asdict() for hit in hits], "remains": [_remains(one) for one in remains],
    }  # fmt: skip


async def _exports(settings: Settings, since: int) -> list[dict[str, Any]]:
    """The curator may work on another machine, which does not see what was exported to this one."""
    exports, datasets = (backends.open_ledger(settings, name) for name in ("exports", "datasets"))
    found = await in_exports.clean_and_tell(exports, datasets, since=since, at=now_text())
    return [one._asdict() for one in found]


async def _exported(settings: Settings) -> list[Path]:
    """Where exports were written to outside of the data folder."""
    known = fold(await backends.open_ledger(settings, "exports").entries())
    paths = dict.fromkeys(Path(export.path) for export in known)
    home = settings.data_dir.resolve()
    return [path for path in paths if not path.is_relative_to(home)]


async def _remaining(settings: Settings, known: forget.Known) -> list[on_bus.Remains]:
    """What lies in topics that are not ours."""
    async with backends.open_bus(settings, check=False) as bus:
        if not isinstance(bus, on_bus.SharedLog):
            return []
        return await on_bus.remaining(bus, settings.topics, known.tombstones)


def _remains(one: on_bus.Remains) -> dict[str, Any]:
    until = None if one.until_ms is None else rfc3339(one.until_ms)
    return {"at": one.at, "until": until}


async def resume(settings: Settings, *, wait_s: float) -> dict[str, Any]:
    """Finish whatever is ordered and not done. Raises BadErasure (E7124) where nothing is, and as `order_erasure`."""
    known = open_erasures(settings)
    await known.look()
    due = [order.key for order in known.state.open]
    if not due:
        raise BadErasure("nothing is to be finished: every erasure that was ordered is done")
    since = len(await backends.open_ledger(settings, "exports").entries())
    gone = await _see_to_it(settings, known, wait_s)
    return {"orders": due, "gone": gone, "exports": await _exports(settings, since)}


async def count(settings: Settings, ask: Asked) -> dict[str, Any]:
    """What would go; nothing is changed or recorded, but the key of the marks is made where there is none."""
    marks = backends.open_marks(settings)
    _, body = order_of(marks, ask.kind, [ask.name], reason="", by="")
    tombstones = Tombstones(marks, {kind: frozenset(found) for kind, found in body["marks"].items()}, 1)
    known = forget.Known(backends.open_ledger(settings, "erasures"), lambda: marks)
    known.state = type(known.state)(tombstones)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(backends.open_bus(settings, check=False))
        buffer = await stack.enter_async_context(_to_read(settings))
        shelf = await _shelf(settings, stack)
        held = await in_datasets.found(known, shelf)
        records = await on_bus.count(bus, settings.topics, tombstones) if isinstance(bus, on_bus.OwnLog) else {}
        runs = len(await in_buffer.found(buffer, tombstones)) if buffer else 0
        exports = [one.path for one in fold(await shelf.exports.entries()) if one.dataset_id in held and one.files]
    versions = {key: len(keys) for key, keys in held.items()}
    return {"dry_run": True, "buffer": runs, **records, "versions": versions, "exports": exports}


async def _see_to_it(settings: Settings, known: forget.Known, wait_s: float) -> dict[str, int]:
    async with AsyncExitStack() as stack:
        hands = await _hands(settings, known, stack)
        if hands is not None:
            await finish(hands)
            return hands.done
        until = time.monotonic() + wait_s
        while known.state.open:
            if trouble := next((order.trouble for order in known.state.open if order.trouble), ""):
                raise ErasureOpen(f"it is recorded and cannot be finished: {trouble}")
            if time.monotonic() > until:
                raise ErasureOpen(
                    f"it is recorded and not done after {wait_s:.0f} s: see that `l07 run` or consumers.curate works; "
                    "it goes on by itself, and `l07 forget --resume` waits again"
                )
            await asyncio.sleep(LOOK_S)
            await known.look()
        return {}


async def _hands(settings: Settings, known: forget.Known, stack: AsyncExitStack) -> Hands | None:
    """Everything open, for us alone; None where a curator is at work, who does it between two versions."""
    if settings.buffer.url:
        return None
    try:
        stack.enter_context(backends.held_folder(settings, purpose=PURPOSE))
    except FolderInUse as err:
        if err.context.get("purpose") in CURATING:
            return None
        raise
    bus = await stack.enter_async_context(backends.open_bus(settings))
    buffer = await stack.enter_async_context(backends.open_buffer(settings))
    return Hands(known, buffer, bus, await _shelf(settings, stack), alone=True)


async def _shelf(settings: Settings, stack: AsyncExitStack) -> Shelf:
    curator = await stack.enter_async_context(backends.open_curator(settings))
    datasets, jobs, registry, exports = (
        backends.open_ledger(settings, name) for name in ("datasets", "jobs", "registry", "exports")
    )
    return Shelf(datasets, jobs, registry, exports, backends.open_store(settings), curator, settings, now_text)


@asynccontextmanager
async def _to_read(settings: Settings) -> AsyncIterator[ExampleBuffer | None]:
    """A server's buffer, a running `l07 run`'s, or the folder's own; None where there is none yet."""
    if not backends.has_buffer(settings):
        yield None
        return
    async with AsyncExitStack() as stack:
        try:
            buffer = await stack.enter_async_context(backends.open_buffer(settings, attach=True))
        except NoLiveBuffer:
            buffer = await stack.enter_async_context(backends.buffer_alone(settings))
        yield buffer
