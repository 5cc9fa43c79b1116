"""What failed jobs leave behind: of each track the newest failed one keeps its checkpoints and last good weights, the others lose theirs.

The newest may be asked for again, and goes on where it stopped; of those before it nobody will.
"""

from collections.abc import Mapping

from l07.domain.job import JobState
from l07.domain.job_ledger import JobLine, fold
from l07.pipeline import attempts
from l07.ports import ArtifactStore, Ledger


async def sweep(track: str, *, jobs: Ledger, store: ArtifactStore) -> None:
    """After a job of the track has failed. Cut off, the next one does it."""
    for ident in outdated(fold(await jobs.entries()), track):
        attempts.sweep(store.path(f"jobs/{ident}"))


def outdated(lines: Mapping[str, JobLine], track: str) -> list[str]:
    """Ids of the track's failed jobs, oldest first, that nobody will go on from: not the newest, and none of a version for
    which a job is due, since that may be the same one."""
    due = {line.dataset for line in lines.values() if line.is_due}
    failed = [line for line in lines.values() if line.state is JobState.FAILED and line.ident]
    mine = [line for line in failed if line.track == track]
    kept = {line.ident for line in failed if line.dataset in due} | {line.ident for line in mine[-1:]}
    kept |= {line.ident for line in lines.values() if line.is_due}
    return list(dict.fromkeys(line.ident for line in mine if line.ident not in kept))
