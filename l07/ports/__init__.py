"""What the pipeline needs of the world, as Protocols. A backend is any object of this shape; a suite in tests/contracts defines it.

Every call may be repeated safely: a repeat has no second effect.
"""

from l07.ports.buffer import (
    Applied,
    BufferStatus,
    ExampleBuffer,
    Half,
    HeldRun,
    Ignored,
    IngestBatch,
    Memory,
    OutboxEntry,
    Part,
    Position,
    Seal,
    SealedBatch,
    SealedRow,
    Side,
    Trail,
    Unreadable,
)
from l07.ports.bus import Bus, Merged, Slice, Start, Subscription
from l07.ports.files import ArtifactStore, Entry, Lease, Leases, Ledger
from l07.ports.work import Curated, CurateRequest, Curator, Progress, Reporter, Trainer, Watcher

__all__ = [
    "Applied",
    "ArtifactStore",
    "BufferStatus",
    "Bus",
    "CurateRequest",
    "Curated",
    "Curator",
    "Entry",
    "ExampleBuffer",
    "Half",
    "HeldRun",
    "Ignored",
    "IngestBatch",
    "Lease",
    "Leases",
    "Ledger",
    "Memory",
    "Merged",
    "OutboxEntry",
    "Part",
    "Position",
    "Progress",
    "Reporter",
    "Seal",
    "SealedBatch",
    "SealedRow",
    "Side",
    "Slice",
    "Start",
    "Subscription",
    "Trail",
    "Trainer",
    "Unreadable",
    "Watcher",
]
