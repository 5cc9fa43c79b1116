"""What every ledger promises; run against folders. Then: what `verify` finds, and where."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l07.backends.store import FolderLedger, verify
from l07.backends.store.ledger import decode, encode, hash_of
from l07.errors import FolderNotWritable, LayoutUnknown, LedgerBroken, StoreFull
from l07.ports import Entry, Ledger
from tests.contracts.ledger_kit import AT, fill

APPENDER = """
import asyncio, sys
from pathlib import Path
from l07.backends.store import FolderLedger

async def main(root, name, count):
    ledger = FolderLedger(Path(root), "jobs")
    for n in range(count):
        entry = await ledger.append("k", f"{name}-{n}", {"n": n}, at="2026-01-02T03:04:05Z")
        shared = await ledger.append("shared", str(n), {"by": name}, at="2026-01-02T03:04:05Z")
        print(entry.number, shared.number, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def appender(root: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", APPENDER, str(root), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# ------------------------------------------------------------------ appending


async def test_an_entry_comes_back_as_it_was_given(ledger: Ledger, root: Path) -> None:
    body = {"subject": "jobs/a", "data": {"loss": [0.1, 1e-9, 3.0], "none": None, "ü": "\ud800"}}
    entry = await ledger.append("training.started", "a/1", body, at=AT)
    assert (entry.ledger, entry.number, entry.kind, entry.key, entry.at) == ("jobs", 1, "training.started", "a/1", AT)
    assert entry.body == body
    assert await FolderLedger(root, "jobs").entries() == [entry]


async def test_numbers_and_hashes_form_a_chain(ledger: Ledger) -> None:
    entries = await fill(ledger)
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.prev for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    assert all(hash_of(entry) == entry.hash for entry in entries)


async def test_the_same_kind_and_key_again_returns_what_is_there(ledger: Ledger) -> None:
    first = await ledger.append("k", "a", {"n": 1}, at=AT)
    again = await ledger.append("k", "a", {"n": 2}, at="2027-01-01T00:00:00Z")
    other = await ledger.append("other", "a", {"n": 3}, at=AT)
    assert again == first
    assert [entry.number for entry in await ledger.entries()] == [1, 2]
    assert await ledger.find("other", "a") == other
    assert await ledger.find("other", "b") is None


async def test_entries_after_a_number(ledger: Ledger) -> None:
    entries = await fill(ledger)
    assert await ledger.entries(after=3) == entries[3:]
    assert await ledger.entries(after=5) == []


async def test_an_open_ledger_sees_what_another_one_appends(ledger: Ledger, root: Path) -> None:
    assert await ledger.entries() == []
    written = await FolderLedger(root, "jobs").append("k", "a", {}, at=AT)
    assert await ledger.find("k", "a") == written
    mine = await ledger.append("k", "b", {}, at=AT)
    assert (mine.number, mine.prev) == (2, written.hash)


async def test_the_second_writer_of_a_number_takes_the_next_one(root: Path) -> None:
    one, two = FolderLedger(root, "jobs"), FolderLedger(root, "jobs")
    await asyncio.gather(*(ledger.append("k", f"{n}", {}, at=AT) for n in range(20) for ledger in (one, two)))
    entries = await FolderLedger(root, "jobs").entries()
    assert sorted(entry.key for entry in entries) == sorted(str(n) for n in range(20))
    assert verify(root, "jobs") == []


async def test_a_body_that_is_no_json_is_refused_and_leaves_nothing(ledger: Ledger, root: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        await ledger.append("k", "a", {"loss": float("nan")}, at=AT)
    assert await ledger.entries() == []
    assert not list(root.rglob("*.json"))


# ------------------------------------------------------------------ appending only onto what was read


async def test_an_entry_is_appended_only_onto_the_one_that_was_read(ledger: Ledger, root: Path) -> None:
    await fill(ledger, 2)
    assert await ledger.append_after(1, "k", "late", {}, at=AT) is None
    assert await ledger.append_after(3, "k", "early", {}, at=AT) is None
    entry = await ledger.append_after(2, "k", "third", {}, at=AT)
    assert entry is not None
    assert entry.number == 3
    assert await ledger.append_after(2, "k", "third", {"n": 9}, at=AT) == entry, "a repeat is what is there"


async def test_of_two_that_read_the_same_end_one_appends(root: Path) -> None:
    many = [FolderLedger(root, "jobs") for _ in range(8)]
    done = await asyncio.gather(*(one.append_after(0, "k", f"{n}", {}, at=AT) for n, one in enumerate(many)))
    assert sum(entry is not None for entry in done) == 1, "and nobody has seen half of a file that another made"
    assert verify(root, "jobs") == []


@pytest.mark.slow
async def test_several_processes_append_to_one_chain(root: Path) -> None:
    children = [appender(root, name, 25) for name in ("a", "b", "c")]
    for child in children:
        assert await asyncio.to_thread(child.wait, 60) == 0
        child.stdout.close()  # type: ignore[union-attr]
    entries = await FolderLedger(root, "jobs").entries()
    expected = [("k", f"{name}-{n}") for name in "abc" for n in range(25)] + [("shared", str(n)) for n in range(25)]
    assert sorted((entry.kind, entry.key) for entry in entries) == sorted(expected)
    assert verify(root, "jobs") == []


@pytest.mark.slow
async def test_what_a_killed_writer_had_appended_is_there_and_its_drafts_are_not(root: Path) -> None:
    child = appender(root, "a", 100_000)
    assert child.stdout is not None
    last = [child.stdout.readline() for _ in range(20)][-1]
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    (root / "jobs" / f".{child.pid}-1-1.tmp").write_bytes(b"half an ent")
    entries = await FolderLedger(root, "jobs").entries()
    assert len(entries) >= int(last.split()[1])
    assert not list((root / "jobs").glob(".*"))
    assert verify(root, "jobs") == []


# ------------------------------------------------------------------ a world that is down


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, FolderNotWritable),
        (errno.EIO, FolderNotWritable),
    ],
)
async def test_what_the_disk_says_has_a_code(
    ledger: Ledger, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    await fill(ledger, 1)

    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(error):
            await ledger.append("k", "new", {}, at=AT)
    assert sorted(path.name for path in (root / "jobs").iterdir()) == ["00000001.json", "layout"]
    assert (await ledger.append("k", "new", {}, at=AT)).number == 2


async def test_a_full_disk_is_said_and_costs_no_entry(small_disk: Path) -> None:
    ledger = FolderLedger(small_disk, "jobs")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 900_000)
    kept: list[Entry] = []
    with pytest.raises(StoreFull, match="E7400: no space left"):
        await append_until_it_fails(ledger, kept)
    assert await FolderLedger(small_disk, "jobs").entries() == kept != []
    ballast.unlink()
    assert (await ledger.append("k", "after", {}, at=AT)).number == len(kept) + 1
    assert verify(small_disk, "jobs") == []


async def append_until_it_fails(ledger: Ledger, kept: list[Entry]) -> None:
    for n in range(1000):
        kept.append(await ledger.append("k", str(n), {"text": "x" * 9_000}, at=AT))


async def test_a_folder_that_cannot_be_written_is_said(unwritable: Path) -> None:
    with pytest.raises(FolderNotWritable, match="E7402"):
        await FolderLedger(unwritable, "jobs").append("k", "a", {}, at=AT)


async def test_a_newer_layout_is_refused(ledger: Ledger, root: Path) -> None:
    await fill(ledger)
    (root / "jobs" / "layout").write_text("2\n")
    with pytest.raises(LayoutUnknown, match="E7404"):
        await FolderLedger(root, "jobs").entries()


# ------------------------------------------------------------------ verify


def flip(folder: Path) -> None:
    raw = bytearray((folder / "00000003.json").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "00000003.json").write_bytes(raw)


def delete(folder: Path) -> None:
    (folder / "00000003.json").unlink()


def swap(folder: Path) -> None:
    one, two = folder / "00000003.json", folder / "00000004.json"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def rewrite(folder: Path) -> None:
    path = folder / "00000003.json"
    fields = json.loads(path.read_bytes())
    fields["body"] = {"n": 33}
    path.write_bytes(encode(Entry(**{**fields, "hash": hash_of(Entry(**fields))})))


def rewrite_the_rest(folder: Path) -> None:
    rewrite(folder)
    for number in (4, 5):
        before = decode((folder / f"{number - 1:08}.json").read_bytes())
        assert before is not None
        path = folder / f"{number:08}.json"
        fields = {**json.loads(path.read_bytes()), "prev": before.hash}
        path.write_bytes(encode(Entry(**{**fields, "hash": hash_of(Entry(**fields))})))


def cut(folder: Path) -> None:
    for number in (3, 4, 5):
        (folder / f"{number:08}.json").unlink()


def remove_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def test_an_untouched_ledger_has_no_findings(ledger: Ledger, root: Path) -> None:
    entries = await fill(ledger)
    assert verify(root, "jobs", published={entry.number: entry.hash for entry in entries}) == []
    assert verify(root, "nothing") == []


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (flip, [(3, "changed")]),
        (delete, [(3, "missing")]),
        (swap, [(3, "reordered"), (4, "reordered")]),
        (rewrite, [(3, "replaced")]),
    ],
)
async def test_harm_is_found_and_located(
    ledger: Ledger, root: Path, harm: Callable[[Path], None], expected: list[tuple[int, str]]
) -> None:
    await fill(ledger)
    harm(root / "jobs")
    assert [(finding.number, finding.what) for finding in verify(root, "jobs")] == expected


@pytest.mark.parametrize(
    ("harm", "last_only", "all_known"),
    [
        (cut, [(3, "cut")], [(3, "cut")]),
        (remove_all, [(1, "cut")], [(1, "cut")]),
        (rewrite_the_rest, [(5, "differs")], [(3, "differs"), (4, "differs"), (5, "differs")]),
    ],
)
async def test_what_only_published_hashes_can_show(
    ledger: Ledger,
    root: Path,
    harm: Callable[[Path], None],
    last_only: list[tuple[int, str]],
    all_known: list[tuple[int, str]],
) -> None:
    entries = await fill(ledger)
    harm(root / "jobs")
    assert verify(root, "jobs") == []
    for known, expected in ((entries[-1:], last_only), (entries, all_known)):
        findings = verify(root, "jobs", published={entry.number: entry.hash for entry in known})
        assert [(finding.number, finding.what) for finding in findings] == expected


@pytest.mark.slow
async def test_each_flipped_byte_of_an_entry_is_found(ledger: Ledger, root: Path) -> None:
    await fill(ledger, 3)
    path = root / "jobs" / "00000002.json"
    good = path.read_bytes()
    for index in range(len(good)):
        path.write_bytes(good[:index] + bytes([good[index] ^ 0x20]) + good[index + 1 :])
        assert [(f.number, f.what) for f in verify(root, "jobs")] in ([(2, "changed")], [(2, "reordered")]), index
    path.write_bytes(good)
    assert verify(root, "jobs") == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff", b'{"at":NaN}', b"null", b'{"number":"3"}'])
async def test_an_entry_that_is_anything_else_is_found(ledger: Ledger, root: Path, raw: bytes) -> None:
    await fill(ledger)
    (root / "jobs" / "00000003.json").write_bytes(raw)
    assert [(finding.number, finding.what) for finding in verify(root, "jobs")] == [(3, "changed")]


@pytest.mark.parametrize("harm", [flip, delete, swap, rewrite])
async def test_a_broken_ledger_is_not_read_and_not_written(
    ledger: Ledger, root: Path, harm: Callable[[Path], None]
) -> None:
    await fill(ledger)
    harm(root / "jobs")
    before = sorted(path.name for path in (root / "jobs").iterdir())
    with pytest.raises(LedgerBroken, match=r"E7200: entry [34] of the ledger jobs"):
        await FolderLedger(root, "jobs").append("k", "new", {}, at=AT)
    assert sorted(path.name for path in (root / "jobs").iterdir()) == before


def test_files_that_are_no_entries_are_passed_over(root: Path) -> None:
    (root / "jobs").mkdir(parents=True)
    for name in ("00000000.json", "1.json", "notes.json", "00000001.json~"):
        (root / "jobs" / name).write_text("{}")
    assert verify(root, "jobs") == []
