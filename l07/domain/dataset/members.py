"""Everyone whom a dataset has seen: one light record a natural key, without the messages."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from l07.domain.example import bucket
from l07.domain.quality import Decision

SPLITS = ("train", "validation", "test")
TABLES = (*SPLITS, "contrast", "review")


class Member(msgspec.Struct, frozen=True, gc=False):
    """One natural key. It stays known when its row leaves, so that it is never taken in a second time. A struct, since
    every row is made once and copied a few times: a frozen dataclass takes 6 us for either."""

    key: str
    task: str  # "domain/task_id": runs of one task share a group
    source: str
    domain: str
    task_type: str
    difficulty: float  # 0-1
    quality_score: float  # 0-100
    confidence: float  # 0-1
    decision: Decision
    reasons: tuple[str, ...]
    batch_id: str
    content: str  # sha256 of everything that a learner reads: goal, messages, tools, outcome
    exact: str  # sha256 of the conversation without call ids: equal in exact duplicates
    deeds: str = ""  # digest of the calls that were made; "": none, or next to none
    sketch: bytes = b""  # empty: never was in a table
    features: tuple[float, ...] = ()
    table: str = ""  # one of TABLES; "": known, and not in this version
    group: str = ""
    split: str = ""  # of the group; "" while the row is in no table
    scores: Mapping[str, float] = msgspec.field(
        default_factory=dict
    )  # what a stage measured, by the stage's name for it
    model_version: str = ""  # the released model that did the run; "": unknown
    subject: str = ""  # keyed hash of whose data it is; "": unknown
    cluster: int = 0  # the label of its near duplicates, 64 bits; 0: none is known

    def but(self, **changes: Any) -> "Member":
        """A copy with these changes."""
        return msgspec.structs.replace(self, **changes)

    @property
    def stratum(self) -> str:
        return f"{self.domain}/{bucket(self.difficulty)}"

    @property
    def learnt_from(self) -> bool:
        """Whether the row is in a split."""
        return self.table in SPLITS


def row_digest(member: Member) -> bytes:
    """Of one row as it stands in its table. No offset, no ingest time, no batch, no key-dependent hash."""
    canonical = (
        member.table, member.key, member.group, member.split, member.source, member.domain, member.task,
        member.task_type, member.difficulty, member.quality_score, member.confidence, member.decision,
        member.reasons, member.content,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(canonical)).digest()


def version_digest(members: Iterable[Member]) -> str:
    """Of all rows in all tables, whatever their order: same content, same digest."""
    return digest_of_sorted(b"".join(sorted(row_digest(member) for member in members if member.table)))


def digest_of_sorted(rows: bytes) -> str:
    """The same of the rows' digests, sorted and joined: who stores them need not look at the rows."""
    return "sha256:" + hashlib.sha256(rows).hexdigest()
