"""Control consumers as processes of their own, on a data folder that they share; trainers with a child that a test holds."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from l07.backends import open as backends
from l07.errors import BadEvent
from l07.events import cloudevents, outbound
from l07.ports import Entry
from l07.settings import Settings, load_settings
from tests.servers.fixtures import server_of
from tests.servers.ingest_kit import until

CHILD = """
import json, os, sys, threading, time
from pathlib import Path

def leave_with_parent():
    while os.read(0, 4096):
        pass
    os._exit(75)

threading.Thread(target=leave_with_parent, daemon=True).start()
folder, go = Path(sys.argv[1]), Path(os.environ["GO"])
job = json.loads((folder / "job.json").read_text())
(folder / "begun").write_text(str(os.getpid()))
while not go.exists():
    time.sleep(0.01)
out = Path(job["output"])
out.mkdir()
(out / "adapter_model.safetensors").write_bytes(b"weights of " + job["job_id"].encode())
result = {"status": "completed", "losses": [], "eval_losses": [], "train_loss": 2.0, "steps": 1, "epochs": 1.0,
          "tokens": 10, "seconds": 0.1, "rows": {"used": 600, "too_long": 0, "canaries": 8},
          "config": {"lora": {"rank": 16}}, "versions": {}, "digest": "d", "peak_rss_bytes": 1}
(folder / "result.json").write_text(json.dumps(result))
"""

TRAINER = """
import sys
from l07.backends import open as backends
from l07.backends.child import ChildTrainer
from l07.backends.store import FolderLeases
from l07.service.controlling import run_control
from l07.service.entry import run_consumer

machine, child = sys.argv[1:]
backends.open_trainer = lambda settings: ChildTrainer(command=[sys.executable, child])
backends.open_leases = lambda settings: FolderLeases(
    settings.data_dir / "leases", ttl_s=3 * settings.training.lease_renew_s, machine=machine
)
sys.exit(run_consumer("train", lambda running: run_control(running, "train")))
"""


@dataclass
class House:
    """A data folder, its settings as variables, and the processes on it."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        own = {"L07_DATA_DIR": str(self.root), "L07_LOG_LEVEL": "info", "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **own, **self.variables}

    @property
    def settings(self) -> Settings:
        return load_settings(self.environ).settings

    def start(self, *words: str, log: str) -> "subprocess.Popen[bytes]":
        with (self.root / f"{log}.log").open("ab") as file:
            process = subprocess.Popen([sys.executable, *words], env=self.environ, stderr=file, stdout=file)
        self.processes.append(process)
        return process

    def consumer(self, name: str, *, log: str = "") -> "subprocess.Popen[bytes]":
        return self.start("-m", f"consumers.{name}", log=log or name)

    def trainer(self, machine: str) -> "subprocess.Popen[bytes]":
        """`consumers.train` on a machine of that name, whose children wait until `go`."""
        child = self.root / "child.py"
        child.write_text(CHILD, "utf-8")
        self.variables["GO"] = str(self.root / "go")
        return self.start("-c", TRAINER, machine, str(child), log=f"train-{machine}")

    def go(self) -> None:
        (self.root / "go").touch()

    def children(self) -> list[int]:
        """Process ids of the children that began, by attempt."""
        found = sorted(self.root.glob("jobs/job-*/attempt-*/begun"))
        return [int(text) for path in found if (text := path.read_text())]

    def log(self, name: str) -> list[dict[str, Any]]:
        lines = (self.root / f"{name}.log").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def entries(self, ledger: str, *kinds: str) -> Sequence[Entry]:
        found = await backends.open_ledger(self.settings, ledger).entries()
        return [entry for entry in found if not kinds or entry.kind in kinds]

    async def until_entries(self, ledger: str, kind: str, count: int = 1, *, within_s: float = 60.0) -> Sequence[Entry]:
        async with asyncio.timeout(within_s):
            while len(found := await self.entries(ledger, kind)) < count:
                for process in self.processes:
                    assert process.poll() in (None, 0, -9), self.tails()
                await asyncio.sleep(0.05)
        return found

    def tails(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text('utf-8')[-1500:]}" for path in self.root.glob("*.log"))

    async def create_dataset(self, track: str, *, version: str = "1.0.0", rows: int = 600) -> None:
        """The entry and its announcement, as the curator makes them."""
        data = {
            "dataset": track, "version": version, "digest": f"d-{track}-{version}", "uri": f"datasets/{track}/{version}",
            "splits": {"train": rows}, "domains": {}, "difficulties": {}, "task_types": {}, "dropped": {}, "added": rows,
            "removed": 0,
        }  # fmt: skip
        body = {"subject": f"datasets/{track}:{version}", "causationid": None, "correlationid": "c", "data": data}
        ledger = backends.open_ledger(self.settings, "datasets")
        event = outbound.from_entry(
            await ledger.append("dataset.created", f"{track}:{version}", body, at="2026-01-05T09:00:00Z")
        )
        assert event is not None
        async with backends.open_bus(self.settings) as bus:
            await bus.publish([cloudevents.encode(event, topic=self.settings.topics.events)])

    async def emitted(self) -> Mapping[str, list[str]]:
        """Ids of the distinct events on the bus, by type, in the order of first occurrence within a partition."""
        topic = self.settings.topics.events
        found: dict[str, dict[str, None]] = {}
        async with backends.open_bus(self.settings) as bus:
            for tp, end in (await bus.end_offsets([topic])).items():
                for record in await bus.read(tp, 0, limit=end) if end else ():
                    with suppress(BadEvent):  # what a test put there to be a dead letter
                        event = outbound.read_event(record)
                        assert event is not None
                        found.setdefault(event.TYPE, {})[event.id] = None
        return {kind: list(ids) for kind, ids in found.items()}

    async def announced(self, *ledgers: str) -> bool:
        """Whether each event of these ledgers is on the bus."""
        emitted = await self.emitted()
        for ledger in ledgers:
            for entry in await self.entries(ledger):
                event = outbound.from_entry(entry)
                if event is not None and event.id not in emitted.get(event.TYPE, ()):
                    return False
        return True


def on_kafka(request: pytest.FixtureRequest, unique: str) -> dict[str, str]:
    """Variables for topics and groups that belong to one test."""
    broker: Any = server_of(request, "kafka")
    return on_broker(broker.address, unique)


def on_broker(address: str, unique: str) -> dict[str, str]:
    topics = ("traces", "planning", "scores", "reviews", "events", "dlq")
    return {
        "L07_BUS__URL": f"kafka://{address}",
        "L07_BUS__KAFKA__CREATE_TOPICS": "true",
        "L07_BUS__KAFKA__GROUP": f"l07-{unique}",
        "L07_BUS__KAFKA__SESSION_TIMEOUT_S": "6",
        **{f"L07_TOPICS__{name.upper()}": f"{name}-{unique}" for name in topics},
    }


@contextmanager
def a_house(root: Path, **variables: str) -> Iterator[House]:
    root.mkdir(parents=True, exist_ok=True)
    house = House(root, variables)
    try:
        yield house
    finally:
        for process in house.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(30)


async def begun(house: House, count: int) -> None:
    try:
        await until(lambda: len(house.children()) >= count)
    except TimeoutError as err:
        raise AssertionError(f"{house.children()} of {count} children began\n{house.tails()}") from err


async def ended(process: "subprocess.Popen[bytes]", *, within_s: float = 60.0) -> int:
    return await asyncio.to_thread(process.wait, within_s)


async def eventually(happened: Callable[[], Any], *, within_s: float = 60.0) -> None:
    """`happened` is asked and awaited again and again."""
    async with asyncio.timeout(within_s):
        while not await happened():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
