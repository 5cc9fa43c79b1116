"""Ledgers, leases and folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ledger. `hash` is over everything else in it, `prev` is the hash of the entry before ("" for number 1)."""

    ledger: str
    number: int
    kind: str  # the event type that it announces, or a word of its own
    key: str  # what it is about; (kind, key) is unique
    at: str  # RFC 3339, given by the caller
    body: Mapping[str, Any]
    prev: str
    hash: str


class Ledger(Protocol):
    """Numbered, hash-chained, append-only. The truth, the audit log and the outbox in one."""

    name: str

    async def append(self, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry:
        """The same (kind, key) again returns the entry that is there, whatever the body."""
        ...

    async def append_after(self, number: int, kind: str, key: str, body: Mapping[str, Any], *, at: str) -> Entry | None:
        """As `append`, but only while `number` is the last entry; None: others came, so read them and decide again."""
        ...

    async def entries(self, *, after: int = 0) -> Sequence[Entry]: ...

    async def find(self, kind: str, key: str) -> Entry | None: ...

    async def announced(self) -> int:
        """Up to which number the entries are on the bus. 0: nobody has said so, and a repeat does no harm."""
        ...

    async def mark_announced(self, number: int) -> None:
        """Never moves back, whoever is late."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A name that one owner holds. Each claim of a name has a larger `fence` than all before it."""

    name: str
    owner: str
    fence: int


class Leases(Protocol):
    """Who works on what. No clock is compared with another's: a lease ends when an observer has seen no renewal of it for
    the whole time to live by his own monotonic clock, or when its holder's death is certain."""

    async def claim(self, name: str, owner: str, *, above: int = 0) -> Lease | None:
        """None: another holds it, or may. Asked again and again, it is given once that one was silent for long enough.

        Its fence is larger than `above` too: what is remembered elsewhere counts, should the leases be lost."""
        ...

    async def renew(self, lease: Lease) -> bool:
        """Whether it is still ours; False: it was taken over, and what it stood for must end."""
        ...

    async def release(self, lease: Lease) -> None:
        """The next one may have it at once. One that is no longer ours: nothing."""
        ...

    async def is_held(self, name: str) -> bool | None:
        """Whether somebody has it now; None: it cannot be told from here. Changes nothing."""
        ...


class ArtifactStore(Protocol):
    """Folders that appear whole or not at all."""

    def scratch(self, name: str) -> Path:
        """A private folder to build in; a killed run's leftovers are removed at the next start."""
        ...

    async def publish(self, scratch: Path, uri: str) -> str:
        """Move into place under `uri` (such as `datasets/default/1.0.0`) by one rename, after fsync.

        A folder that is already there stays, and the scratch is dropped."""
        ...

    async def remove(self, uri: str) -> None:
        """The folder is gone, at once for whoever looks; one that is not there: nothing."""
        ...

    def path(self, uri: str) -> Path: ...

    def exists(self, uri: str) -> bool: ...
