"""`l07 jobs cancel`: a person ends a job. A line in the ledger; whoever trains it sees that within a second or so."""

import argparse
import asyncio
from datetime import UTC, datetime

from l07.cli.access import loaded, person
from l07.cli.console import Console


def cancel_job(args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName (E7903); JobMoveRefused (E7720) where the job has ended or has its result."""
    from l07.backends.open import open_ledger
    from l07.pipeline.train import cancel

    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    jobs = open_ledger(loaded(args).settings, "jobs")
    entry = asyncio.run(cancel(args.id, jobs=jobs, by=person(), at=at))
    if console.as_json:
        console.data({"job": args.id, "dataset": entry.key, "state": "CANCELLED", "by": entry.body["by"]})
    else:
        console.line(f"job {args.id} of {entry.key} is cancelled")
    return 0
