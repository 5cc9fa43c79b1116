"""Fakes that keep the promises of the ports, in memory."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l07.errors import L07Error, MessageTooLarge
from l07.events.record import Message, Record
from l07.ports import Entry, Progress


@dataclass
class MemoryLedger:
    """ports.Ledger in a list."""

    name: str
    lines: list[Entry] = field(default_factory=list)
    cursor: int = 0

    async def append(self, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry:
        there = await self.find(kind, key)
        if there is not None:
            return there
        body = json.loads(json.dumps(body))
        prev = self.lines[-1].hash if self.lines else ""
        number = len(self.lines) + 1
        digest = hashlib.sha256(json.dumps([self.name, number, kind, key, at, body, prev]).encode()).hexdigest()
        self.lines.append(Entry(self.name, number, kind, key, at, body, prev, digest))
        return self.lines[-1]

    async def append_after(self, number: int, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry | None:
        there = await self.find(kind, key)
        return there or (await self.append(kind, key, body, at=at) if number == len(self.lines) else None)

    async def entries(self, *, after: int = 0) -> Sequence[Entry]:
        return self.lines[after:]

    async def announced(self) -> int:
        return self.cursor

    async def mark_announced(self, number: int) -> None:
        self.cursor = max(self.cursor, number)

    async def find(self, kind: str, key: str) -> Entry | None:
        return next((line for line in self.lines if (line.kind, line.key) == (kind, key)), None)

    def kinds(self) -> list[str]:
        return [line.kind for line in self.lines]


@dataclass
class MemoryBus:
    """The part of ports.Bus that publishes; one partition a topic, which takes no value above `most_bytes`."""

    topics: dict[str, list[Record]] = field(default_factory=dict)
    fail_next: L07Error | None = None
    most_bytes: int = 10**9

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        for m in messages:
            if len(m.value) > self.most_bytes:
                raise MessageTooLarge(f"{len(m.value)} bytes")
            log = self.topics.setdefault(m.topic, [])
            log.append(Record(m.topic, 0, len(log), m.timestamp_ms or 0, m.key, m.value, m.headers))


@dataclass
class ScriptedTrainer:
    """ports.Trainer that answers from a list: a result to write, or an error to raise; then it repeats the last."""

    answers: list[Mapping[str, Any] | L07Error]
    jobs: list[Mapping[str, Any]] = field(default_factory=list)

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        job = json.loads((job_dir / "job.json").read_text("utf-8"))
        self.jobs.append(job)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, L07Error):
            raise answer
        if on_progress is not None:
            await on_progress({"step": 1, "steps": 2, "epoch": 0.5, "loss": 2.0, "tokens_per_s": 10.0, "eta_s": 1.0})
        out = Path(job["output"])
        out.mkdir(parents=True, exist_ok=True)
        (out / "adapter_model.safetensors").write_bytes(
            b"weights of " + str(job.get("job_id", job.get("name"))).encode()
        )
        (job_dir / "result.json").write_text(json.dumps(answer), "utf-8")
        return answer


@dataclass
class FolderFake:
    """ports.ArtifactStore without fsync."""

    root: Path

    def scratch(self, name: str) -> Path:
        path = self.root / "scratch" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    async def publish(self, scratch: Path, uri: str) -> str:
        if not self.path(uri).exists():
            self.path(uri).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(scratch, self.path(uri))
        return uri

    async def remove(self, uri: str) -> None:
        shutil.rmtree(self.path(uri), ignore_errors=True)

    def path(self, uri: str) -> Path:
        return self.root / uri

    def exists(self, uri: str) -> bool:
        return self.path(uri).exists()
