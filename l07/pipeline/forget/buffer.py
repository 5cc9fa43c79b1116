"""Out of the buffer: every run for which a tombstone stands."""

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY
from l07.events import whose
from l07.pipeline.ingest import is_erased
from l07.ports import ExampleBuffer, HeldRun

LOOKS = 20  # a row that changes while it is read is left to the next look


async def found(buffer: ExampleBuffer, tombstones: Tombstones) -> set[str]:
    """Natural keys of what lies there."""
    if not tombstones:
        return set()
    runs = buffer.runs(bodies=tombstones.by_content)
    return {run.key async for run in runs if is_run_erased(run, tombstones)}


async def clean(buffer: ExampleBuffer, tombstones: Tombstones) -> int:
    """How many halves and rows went. Nothing that came before this was called is left when it returns."""
    done = 0
    for _ in range(LOOKS):
        keys = await found(buffer, tombstones)
        if not keys:
            break
        done += await buffer.erase(keys)
    return done


def is_run_erased(run: HeldRun, tombstones: Tombstones) -> bool:
    """By its key, or by what its events say."""
    return tombstones.stands_for(KEY, run.key) or any(
        is_erased(whose.of_event(body), tombstones) for body in run.bodies
    )
