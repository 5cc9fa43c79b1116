"""What is wrong with a ledger, entry by entry: flipped, deleted, reordered, written anew, cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from l07.backends.store.ledger import decode, file_name, numbers
from l07.errors import disk_errors
from l07.ports import Entry

Fault = Literal["changed", "missing", "reordered", "replaced", "differs", "cut"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry, and what is wrong with it."""

    ledger: str
    number: int
    what: Fault
    detail: str


def verify(root: Path, name: str, *, published: Mapping[int, str] | None = None) -> list[Finding]:
    """Everything that is wrong with the ledger, by number; empty: nothing is. Reads all of it; to be run in a thread.

    `published` (number -> hash, as outgoing events carry them; the last is enough) finds a cut tail and a chain that
    was written anew. With all of them the first entry that differs is named, with the last alone only that one.

    Raises: FolderNotWritable E7402, the folder cannot be read."""
    known = dict(published or {})
    with disk_errors(root / name):
        present = set(numbers(root / name))
        read = {number: _read(root / name, name, number) for number in sorted(present)}
    top = max(present, default=0)
    findings = [
        Finding(name, number, *fault)
        for number in range(1, top + 1)
        if (fault := _fault(number, read, known.get(number))) is not None
    ]
    if (last := max(known, default=0)) > top:
        findings.append(
            Finding(name, top + 1, "cut", f"entries {top + 1} to {last} are gone: number {last} was published")
        )
    return findings


def _read(folder: Path, name: str, number: int) -> Entry | tuple[Fault, str]:
    entry = decode((folder / file_name(number)).read_bytes())
    if entry is None:
        return "changed", "its bytes are not the ones that were written: its own hash does not fit"
    if (entry.ledger, entry.number) != (name, number):
        return "reordered", f"the file holds entry {entry.number} of {entry.ledger}"
    return entry


def _fault(number: int, read: Mapping[int, Entry | tuple[Fault, str]], known: str | None) -> tuple[Fault, str] | None:
    entry = read.get(number, ("missing", "there is no such file, but later ones are there"))
    if not isinstance(entry, Entry):
        return entry
    if known is not None and known != entry.hash:
        return "differs", f"its hash is {entry.hash}, but {known} was published"
    if number == 1 and entry.prev:
        return "replaced", "it is the first, but names one before it"
    after = read.get(number + 1)
    if isinstance(after, Entry) and after.prev != entry.hash:
        return "replaced", f"entry {number + 1} follows another entry {number}"
    return None
