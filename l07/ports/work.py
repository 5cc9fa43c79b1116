"""Heavy work in other processes: curation and training."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from l07.domain.erasure import Tombstones
from l07.domain.quality import CurateRules
from l07.ports.buffer import SealedBatch


@dataclass(frozen=True, slots=True)
class CurateRequest:
    """All that a version follows from: the sealed batches, the rules, and the version before."""

    track: str
    batches: Sequence[SealedBatch]  # waiting ones first, in the order of their numbers
    rules: CurateRules
    parent: Path | None  # folder of the version before
    golden: Path | None  # frozen JSONL of the track
    output: Path  # a scratch folder; filled only when the version is built
    erased: Tombstones | None = (
        None  # whoever they stand for leaves the version before; a version comes of it whatever is left
    )
    marks: Path | None = None  # the secret under which subjects are hashed; made when the first one comes


@dataclass(frozen=True, slots=True)
class Curated:
    """What came of it: a version in the output folder, or why there is none."""

    version: str  # "" when there is none
    summary: Mapping[
        str, Any
    ]  # built: the content of manifest.json; else {"code", "reason", "message", "needed", "have"}


class Curator(Protocol):
    """Builds a version's folder, away from the event loop. The same request gives the same files."""

    async def build(self, request: CurateRequest) -> Curated:
        """Raises CuratorDied (Transient), DatasetChanged, DatasetUnreadable or GoldenUnreadable (Fatal)."""
        ...

    async def erased_in(self, folder: Path, tombstones: Tombstones) -> Sequence[str]:
        """Natural keys of those in a published version for whom a tombstone stands. Raises DatasetUnreadable (E7103)."""
        ...

    async def summary(self, folder: Path) -> Mapping[str, Any]:
        """The manifest of a published version, checked against its files."""
        ...


Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class Trainer(Protocol):
    """Runs a job folder to its end in another process."""

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        """The content of result.json. Raises a ChildError with its code: killed, out of memory, hung, no [train] extra, or what the child itself said."""
        ...


class Reporter(Protocol):
    """A tracker that is told one attempt of a job: its beginning, its steps, its end, in this order and from one thread. Each
    raises ReporterDown (E7732) where the tracker does not take it."""

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None: ...

    def tell(self, step: int, values: Mapping[str, float]) -> None: ...

    def end(self, state: str) -> None:
        """COMPLETED, FAILED, or CUT_OFF: preempted, cancelled, taken over."""
        ...


class Watcher(Protocol):
    """Whoever is told an attempt, however many trackers that are; raises nothing and holds up nobody."""

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None: ...

    def tell(self, line: Mapping[str, Any]) -> None: ...

    async def end(self, state: str) -> None: ...
