"""A consumer's process with something done to it, for tests alone: `python -m tests.campaign.member [WHAT ...] consumers.ingest`.

    --clock FILE     the clock is off by as many seconds as stand in FILE
    --only TRACKS    the curator leaves other tracks' batches alone
    --control NAME   the product with one of its safeguards taken out (`broken.py`)

Without it a consumer is `python -m consumers.ingest`, untouched. The product has no such switches."""

import argparse
import runpy
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path


def step_clock(file: Path) -> None:
    """Time of day as the consumer sees it; its monotonic clock goes on as it was."""
    from l07.service import ingesting, watching

    real = datetime

    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return real.now(tz) + timedelta(seconds=float(file.read_text() or 0))

    for module in (ingesting, watching):
        assert module.datetime is real  # type: ignore[attr-defined]
        module.datetime = Stepped  # type: ignore[attr-defined]


def only_tracks(tracks: frozenset[str]) -> None:
    """Cumulative datasets of every track would be most of what this machine can do."""
    from l07.pipeline import curate

    whole = curate.curate_batch

    async def some(cause, **ports):  # type: ignore[no-untyped-def]
        if cause.data.track in tracks:
            await whole(cause, **ports)

    curate.curate_batch = some


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--control")
    parser.add_argument("module")
    said = parser.parse_args()
    if said.clock:
        step_clock(said.clock)
    if said.only:
        only_tracks(frozenset(said.only.split(",")))
    if said.control:
        from tests.campaign.broken import break_it

        break_it(said.control)
    sys.argv = [said.module]
    runpy.run_module(said.module, run_name="__main__")


if __name__ == "__main__":
    main()
