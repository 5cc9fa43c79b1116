"""The worker process keeps memory while it works and gives it back once nobody asks for work."""

import asyncio
import os
from pathlib import Path

import pytest

from l07.backends.worker import ProcessCurator

MB = 2**20


def pool_of_arrow(_: object) -> str:
    import pyarrow as pa

    return pa.default_memory_pool().backend_name


def resident_bytes(_: object) -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def work_hard(size: int) -> int:
    """What is resident once all is free but one piece at the heap's end, so that it cannot shrink by itself."""
    held = [b"x" * (4000 + number % 2) for number in range(size // 4000)]
    work_hard.last = held[-1]  # type: ignore[attr-defined]
    del held
    return resident_bytes(None)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="asks Linux how much is resident")
async def test_what_a_build_has_freed_stays_for_the_next_and_goes_back_when_there_is_none() -> None:
    async with ProcessCurator() as curator:
        assert await curator._in_worker(pool_of_arrow, None) == "system"
        before = await curator._in_worker(resident_bytes, None)
        assert await curator._in_worker(work_hard, 200 * MB) - before > 150 * MB
        assert await curator._in_worker(resident_bytes, None, swept=False) - before > 150 * MB
        async with asyncio.timeout(30):
            while await curator._in_worker(resident_bytes, None, swept=False) - before > 50 * MB:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.1)
