"""Events, buses and ledgers for the tests of the command line; each names only what matters."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l07.backends.open import open_bus, open_ledger
from l07.events.record import Message, Record, TopicPartition
from l07.settings import Settings

STRUCTURED = ((b"content-type", b"application/cloudevents+json; charset=UTF-8"),)


def an_event(kind: str = "execution.completed", number: int = 1, **changes: Any) -> dict[str, Any]:
    run = f"run-{number}"
    event = {"specversion": "1.0", "type": kind, "source": "/test", "id": f"{kind}-{number}", "subject": run}
    return event | {"data": {"execution_id": run}} | changes


def lines(*documents: object) -> bytes:
    return b"".join((doc if isinstance(doc, bytes) else json.dumps(doc).encode()) + b"\n" for doc in documents)


def records(data_dir: Path, topic: str) -> list[Record]:
    """Everything on a topic, partition by partition."""

    async def read() -> list[Record]:
        async with open_bus(Settings(data_dir=data_dir)) as bus:
            ends = await bus.end_offsets([topic])
            return [record for tp, end in sorted(ends.items()) for record in await bus.read(tp, 0, limit=max(1, end))]

    return asyncio.run(read())


def publish(data_dir: Path, *messages: Message) -> None:
    async def write() -> None:
        async with open_bus(Settings(data_dir=data_dir)) as bus:
            await bus.publish(messages)

    asyncio.run(write())


def on_topic(topic: str, document: object, *, key: bytes = b"k", at_ms: int = 1_700_000_000_000) -> Message:
    return Message(topic, key, json.dumps(document).encode(), STRUCTURED, at_ms)


def a_letter(value: bytes = b"{broken", *, ident: str = "letter-1", kept: bool = True, **changes: Any) -> Message:
    """A dead letter of `value`, as ingest writes it."""
    data = {
        "id": ident, "code": "E7003", "message": "no JSON", "topic": "execution.traces", "partition": 0, "offset": 4,
        "timestamp_ms": 1_700_000_000_000, "key": _b64(b"run-1"), "length": len(value),
        "headers": [[_b64(b"content-type"), _b64(b"application/json")], [_b64(b"empty"), None]],
        "sha256": hashlib.sha256(value).hexdigest(), "raw": _b64(value) if kept else None,
    }  # fmt: skip
    envelope = {
        "specversion": "1.0",
        "type": "learning.dead_letter",
        "source": "/l07/ingest",
        "id": ident,
        "data": data | changes,
    }
    return on_topic("learning.dlq", envelope, key=ident.encode())


def record_entries(data_dir: Path, name: str, *entries: tuple[str, str, dict[str, Any]]) -> None:
    """Entries (kind, key, body) in a ledger of the data folder."""

    async def write() -> None:
        ledger = open_ledger(Settings(data_dir=data_dir), name)
        for kind, key, body in entries:
            await ledger.append(kind, key, body, at="2026-01-05T09:00:00Z")

    asyncio.run(write())


def a_loop(data_dir: Path) -> None:
    """What the ledgers hold after one turn of the loop: a dataset, a job and a model that passed."""
    dataset = {
        "dataset": "default",
        "version": "1.0.0",
        "digest": "d1",
        "uri": "datasets/default/1.0.0",
        "splits": {"train": 8},
    }
    record_entries(
        data_dir,
        "datasets",
        ("dataset.created", "default:1.0.0", {"subject": "datasets/default:1.0.0", "data": dataset}),
    )
    queued = {"track": "default", "queued": "default:1.0.0"}
    completed = {"job_id": "job-1", "train_loss": 0.5}
    started = {"job_id": "job-1", "attempt": 1, "base_model": "tiny-base", "method": "sft"}
    record_entries(
        data_dir, "jobs",
        ("job.queued", "default:1.0.0", {"track": "default"}),
        ("job.attempt", "default:1.0.0/job-1/1", {**queued, "job_id": "job-1"}),
        ("training.started", "job-1/1", {"subject": "jobs/job-1", "data": started, **queued}),
        ("training.completed", "job-1", {"subject": "jobs/job-1", "data": completed, **queued}),
        ("job.ended", "default:1.0.0", {**queued, "job_id": "job-1", "state": "COMPLETED"}),
    )  # fmt: skip
    model = {
        "model": "default",
        "version": "0.1.0",
        "digest": "m1",
        "uri": "models/default/0.1.0",
        "base_model": "tiny-base",
    }
    model |= {"lineage": {"job_id": "job-1", "dataset_digest": "d1"}}
    subject = {"subject": "models/default:0.1.0"}
    record_entries(
        data_dir, "registry",
        ("model.registered", "default:0.1.0", {**subject, "data": model}),
        ("model.validated", "default:0.1.0", {**subject, "data": {"verdict": "DEPLOY", "digest": "m1"}}),
        ("model.stage_changed", "default:0.1.0/STAGING", {**subject, "data": {"from": "DEVELOPMENT", "to": "STAGING"}}),
    )  # fmt: skip


def value_at(data_dir: Path, topic: str, partition: int, offset: int) -> bytes | None:
    return next(
        r.value for r in records(data_dir, topic) if r.tp == TopicPartition(topic, partition) and r.offset == offset
    )


def ids(found: Sequence[Record]) -> set[str]:
    return {json.loads(record.value or b"{}")["id"] for record in found}


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
