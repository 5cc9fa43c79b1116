"""What every lease promises: one holder, a fence that only grows, and no theft but from the dead and the silent."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from l07.backends.store import FolderLeases
from l07.errors import FolderNotWritable, StoreFull
from l07.ports import Lease

TTL_S = 90.0
HOLDER = """
import asyncio, sys
from pathlib import Path
from l07.backends.store import FolderLeases

async def main(root, machine):
    leases = FolderLeases(Path(root), ttl_s=90.0, machine=machine)
    lease = await leases.claim("track-a", "the other")
    print(lease.fence, flush=True)
    while await leases.renew(lease):
        await asyncio.sleep(0.02)
    print("lost", flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@dataclass
class Clock:
    """A monotonic clock of one's own."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def on_a_machine(root: Path, name: str, clock: Clock | None = None) -> FolderLeases:
    return FolderLeases(root, ttl_s=TTL_S, clock=clock or Clock(), machine=name)


@contextmanager
def holder(root: Path, machine: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the lease and renews it."""
    command = [sys.executable, "-c", HOLDER, str(root), machine]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "1"
            yield child
        finally:
            child.kill()


async def test_the_first_gets_it_and_the_second_does_not(root: Path) -> None:
    one, two = on_a_machine(root, "a"), on_a_machine(root, "b")
    assert await one.claim("track-a", "one") == Lease("track-a", "one", 1)
    assert await two.claim("track-a", "two") is None
    assert await one.claim("track-a", "one") is None, "not even its holder gets it twice"
    assert await two.claim("track-b", "two") == Lease("track-b", "two", 1)


async def test_of_many_that_claim_at_once_one_gets_it(root: Path) -> None:
    many = [on_a_machine(root, str(number)) for number in range(20)]
    got = [lease for lease in await asyncio.gather(*(one.claim("track-a", "x") for one in many)) if lease]
    assert len(got) == 1


async def test_a_lease_that_was_given_back_is_there_for_the_next_at_once(root: Path) -> None:
    one, two = on_a_machine(root, "a"), on_a_machine(root, "b")
    lease = await one.claim("track-a", "one")
    assert lease is not None
    await one.release(lease)
    assert await two.claim("track-a", "two") == Lease("track-a", "two", 2)
    assert not await one.renew(lease)


async def test_fences_grow_even_over_leases_that_were_lost(root: Path) -> None:
    assert await on_a_machine(root, "a").claim("track-a", "one", above=7) == Lease("track-a", "one", 8)


@pytest.mark.parametrize(("silent_s", "stolen"), [(TTL_S - 0.1, False), (TTL_S, True), (TTL_S + 0.1, True)])
async def test_a_silent_holder_loses_it_after_the_time_to_live(root: Path, silent_s: float, stolen: bool) -> None:
    clock = Clock()
    one, two = on_a_machine(root, "a"), on_a_machine(root, "b", clock)
    lease = await one.claim("track-a", "one")
    assert lease is not None
    assert await two.claim("track-a", "two") is None  # begins to watch
    clock.now += silent_s
    taken = await two.claim("track-a", "two")
    assert (taken is not None) is stolen
    assert await one.renew(lease) is not stolen


async def test_whoever_renews_keeps_it(root: Path) -> None:
    clock = Clock()
    one, two = on_a_machine(root, "a"), on_a_machine(root, "b", clock)
    lease = await one.claim("track-a", "one")
    assert lease is not None
    for _ in range(10):
        assert await two.claim("track-a", "two") is None
        clock.now += TTL_S - 1
        assert await one.renew(lease)


async def test_one_that_has_just_begun_to_watch_steals_nothing(root: Path) -> None:
    one = on_a_machine(root, "a")
    assert await one.claim("track-a", "one")
    for start in range(5):
        assert await on_a_machine(root, "b", Clock(1e6 * start)).claim("track-a", "two") is None


@pytest.mark.parametrize("step_s", [3600, -3600])
async def test_a_step_of_the_wall_clock_steals_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    one = FolderLeases(root, ttl_s=TTL_S, machine="a")
    two = FolderLeases(root, ttl_s=TTL_S, machine="b")
    lease = await one.claim("track-a", "one")
    assert lease is not None
    assert await two.claim("track-a", "two") is None
    (path,) = (root / "track-a").glob("*.json")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step_s)
    os.utime(path, (real() - step_s, real() - step_s))
    assert await two.claim("track-a", "two") is None
    assert await one.renew(lease)


async def test_a_file_that_is_no_lease_is_waited_out(root: Path) -> None:
    (root / "track-a").mkdir(parents=True)
    (root / "track-a" / "00000004.json").write_bytes(b"\xff no lease")
    clock = Clock()
    leases = on_a_machine(root, "a", clock)
    assert await leases.claim("track-a", "one") is None
    clock.now += TTL_S
    assert await leases.claim("track-a", "one") == Lease("track-a", "one", 5)


async def test_old_leases_are_swept_and_the_oldest_holder_still_learns_that_it_lost(root: Path) -> None:
    clock = Clock()
    machines = [on_a_machine(root, str(number), clock) for number in range(4)]
    first = await machines[0].claim("track-a", "0")
    assert first is not None
    for number in (1, 2, 3):
        assert await machines[number].claim("track-a", str(number)) is None
        clock.now += TTL_S
        assert await machines[number].claim("track-a", str(number))
    assert [path.name for path in (root / "track-a").glob("*.json")] == ["00000004.json"]
    assert not await machines[0].renew(first)


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, StoreFull), (errno.EROFS, FolderNotWritable)])
async def test_what_the_disk_says_has_a_code(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    leases = on_a_machine(root, "a")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        with pytest.raises(error):
            await leases.claim("track-a", "one")
    assert await leases.claim("track-a", "one") == Lease("track-a", "one", 1), "what failed left nothing behind"


# ------------------------------------------------------------------ processes


@pytest.mark.slow
async def test_a_killed_holder_on_this_machine_is_followed_at_once(root: Path) -> None:
    leases = on_a_machine(root, "here")
    with holder(root, "here") as child:
        assert await leases.claim("track-a", "me") is None
        child.kill()
        child.wait(10)
        assert await leases.claim("track-a", "me") == Lease("track-a", "me", 2)


@pytest.mark.slow
async def test_a_killed_holder_on_another_machine_is_waited_out(root: Path) -> None:
    clock = Clock()
    leases = on_a_machine(root, "here", clock)
    with holder(root, "there") as child:
        child.kill()
        child.wait(10)
        assert await leases.claim("track-a", "me") is None
        clock.now += TTL_S
        assert await leases.claim("track-a", "me") == Lease("track-a", "me", 2)


@pytest.mark.slow
async def test_a_holder_that_stood_still_learns_at_its_next_renewal_that_it_lost(root: Path) -> None:
    clock = Clock()
    leases = on_a_machine(root, "here", clock)
    with holder(root, "here") as child:
        child.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, child.pid, os.WSTOPPED)  # it stands
        assert await leases.claim("track-a", "me") is None
        clock.now += TTL_S  # the count cannot move while it stands
        lease = await leases.claim("track-a", "me")
        assert lease is not None
        child.send_signal(signal.SIGCONT)
        assert (await asyncio.to_thread(child.communicate, timeout=10))[0] == "lost\n"
        assert await leases.renew(lease)


async def test_a_look_says_who_is_there_and_takes_nothing(root: Path) -> None:
    here, there = on_a_machine(root, "here"), on_a_machine(root, "there")
    assert await here.is_held("track-a") is False
    assert not root.exists(), "a look makes nothing"
    lease = await here.claim("track-a", "one")
    assert lease is not None
    assert await on_a_machine(root, "here").is_held("track-a") is True
    assert await there.is_held("track-a") is None, "whether it lives cannot be told from another machine"
    await here.release(lease)
    assert await there.is_held("track-a") is False


async def test_a_look_at_a_dead_holder_on_the_same_machine_says_so(root: Path) -> None:
    with holder(root, "here") as process:
        here = on_a_machine(root, "here")
        assert await here.is_held("track-a") is True
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert await here.is_held("track-a") is False
        assert await on_a_machine(root, "there").is_held("track-a") is None
