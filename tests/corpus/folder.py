"""One data folder for many cases: the router of `l07 send`, the bus, ingest and Valkey as `l07 run` opens them."""

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from l07.cli.reading import read_topic
from l07.cli.send import send_file
from l07.domain.quality import CurateRules
from l07.events.record import TopicPartition
from l07.pipeline.curate.intake import take_in
from l07.ports import SealedBatch
from l07.runner import at_end
from l07.service.ingesting import Ingest, opened_ingest
from l07.settings import load_settings
from tests.corpus.cases import HERE, Case, content_of

LATER_MS = 2 * 3_600_000  # beyond join.wait_s of settings.toml


class Seen(NamedTuple):
    """What a case did, without the good run that was sent beside it."""

    counts: dict[str, int]
    reasons: dict[str, int]
    codes: list[str]  # of the dead letters
    filtered: dict[str, list[str]]  # key -> reasons, of joined runs that the filter does not accept
    beside: str  # what the filter says of the good run


@dataclass
class Folder:
    """Open, with nothing running beside it."""

    ingest: Ingest
    path: Path
    _numbers: Iterable[int] = field(default_factory=itertools.count)
    _letters: dict[TopicPartition, int] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, data_dir: Path) -> AsyncIterator["Folder"]:
        overrides = {"data_dir": data_dir / "data"}
        settings = load_settings({}, file=HERE / "events" / "settings.toml", overrides=overrides).settings
        async with opened_ingest(settings, lambda step: None) as ingest:
            yield cls(ingest, data_dir)

    async def play(self, case: Case) -> Seen:
        """Send the case's lines and a good run around them; everything is taken in, sealed, filtered and released."""
        number = next(iter(self._numbers))
        await self._do("expire")  # what other cases left waiting must not count here
        before = await self.counted()
        first, *more = _sends(case["lines"])
        beside = f"beside-{number}"
        for lines in ([{"event": a_trace(beside)}, *first, {"event": a_score(beside)}], *more):
            await self._send(lines)
            await self._do("ingest", *filter(None, map(_step, lines)))
        await self._do("seal")
        counts, reasons = (_grown(old, new) for old, new in zip(before, await self.counted(), strict=True))
        assert counts.pop("consumed") == sum(counts.values())
        verdicts = await self._filtered()
        good = verdicts.pop(f"execution:{beside}", ["it never arrived"])
        wrong = {key: said for key, said in verdicts.items() if said}
        counts["applied"] = counts.get("applied", 0) - 2
        codes = [code for _, code in await self.letters()]
        return Seen({k: n for k, n in counts.items() if n}, reasons, codes, wrong, ", ".join(good))

    async def letters(self) -> list[tuple[str, str]]:
        """(the record's key as base64, code) of each dead letter since the last call."""
        topic = self.ingest.settings.topics.dlq
        found = read_topic(self.ingest.bus, topic, position=self._letters)
        letters = [json.loads(record.value or b"")["data"] async for record in found]
        return [(letter["key"], letter["code"]) for letter in letters]

    async def drain(self) -> None:
        """Read the bus to its end and send out what that causes."""
        while await self.ingest.step(merged=True, timeout_s=0):
            pass
        while await self.ingest.relay():
            pass

    async def _send(self, lines: Sequence[Any]) -> None:
        file = self.path / "lines.jsonl"
        file.write_bytes(b"".join(content_of(line) + b"\n" for line in lines if not _step(line)))
        await send_file(file, self.ingest.settings)

    async def _do(self, *steps: str) -> None:
        for step in steps:
            if step == "expire":
                ends = await at_end(self.ingest.source)
                positions = await self.ingest.buffer.positions()
                now_ms = max((at.time_ms for at in positions.values()), default=0)
                await self.ingest.buffer.tick(now_ms=now_ms + LATER_MS, at_end=ends)
            elif step == "seal":
                await self.ingest.buffer.seal_rest()
            else:
                await self.drain()

    async def counted(self) -> tuple[Counter[str], Counter[str]]:
        status = await self.ingest.buffer.status()
        events: Counter[str] = Counter()
        for counts in status.partitions.values():
            events.update(counts)
        return events, Counter(status.reasons)

    async def _filtered(self) -> dict[str, list[str]]:
        """Every open batch through the intake of curation, then released: key -> reasons, none where it is accepted."""
        names = (await self.ingest.buffer.status()).batches
        batches: list[SealedBatch] = [await self.ingest.buffer.read(name) for name in names]
        fresh = take_in(batches, {}, CurateRules()).fresh
        for name in names:
            await self.ingest.buffer.release(name)
        return {key: list(run.member.reasons) for key, run in fresh.items()}


def _sends(lines: Sequence[Any]) -> list[list[Any]]:
    """Cut behind each {"do": ...}: what stands before it is sent first."""
    out: list[list[Any]] = [[]]
    for line in lines:
        out[-1].append(line)
        if _step(line):
            out.append([])
    return [part for part in out if part]


def _step(line: Any) -> str:
    return "" if isinstance(line, str) else line.get("do", "")


def _grown(old: Counter[str], new: Counter[str]) -> dict[str, int]:
    return {name: new[name] - old[name] for name in sorted({*old, *new}) if new[name] != old[name]}


def a_trace(name: str) -> dict[str, Any]:
    """A good run, whole."""
    steps = [{"tool_name": "execute_sql", "parameters": {"query": "select count(*) from cars"}, "output": "4"}]
    trace = {"task_description": f"How many cars has {name}?", "steps": steps, "final_answer": "4"}
    data = {"execution_id": name, "domain": "sql", "outcome": "success", "trace": trace}
    return {"specversion": "1.0", "type": "execution.completed", "source": "/l02", "id": f"{name}-t", "data": data}


def a_score(name: str) -> dict[str, Any]:
    data = {"execution_id": name, "quality_score": 91.5, "confidence": 0.9, "evaluation_id": "q"}
    return {"specversion": "1.0", "type": "evaluation.completed", "source": "/l06", "id": f"{name}-s", "data": data}
