"""What a job may still take, and what each of its attempts took."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from l07.domain.cost import Budget, Limit, Price, Spent
from l07.domain.job_ledger import fold
from l07.errors import BudgetSpent
from l07.pipeline import attempts
from l07.pipeline.train.due import Queued
from l07.ports import ArtifactStore, Entry
from l07.settings import Settings


def price_of(settings: Settings) -> Price:
    return Price(settings.training.price_per_hour, settings.training.currency)


def budget_of(settings: Settings) -> Budget:
    training = settings.training
    return Budget(training.budget_s, training.budget_cost, training.month_budget_s, training.month_budget_cost)


def tightest(
    job: Queued, folder: Path, entries: Sequence[Entry], store: ArtifactStore, settings: Settings, at: str
) -> Limit | None:
    """The bound that the job reaches first, as far as it has come; None: none is set."""
    budget = budget_of(settings)
    if budget == Budget():
        return None
    month_s = 0.0
    if budget.month_s is not None or budget.month_cost is not None:
        month_s = _month_s(job.track, folder, entries, store, at)
    return budget.tightest(price_of(settings), job_s=Spent.total(attempts.spent(folder)).seconds, month_s=month_s)


def _month_s(track: str, folder: Path, entries: Sequence[Entry], store: ArtifactStore, at: str) -> float:
    """Of all jobs of the track, however they ended: their folders know, the ledger names them."""
    since = datetime.fromisoformat(at).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    idents = {job.ident for job in fold(entries).values() if job.track == track and job.ident}
    folders = {folder, *(store.path(f"jobs/{ident}") for ident in idents)}
    return sum(part.seconds for one in folders for part in attempts.spent(one, since=since))


def broken(limit: Limit, job: Queued, settings: Settings) -> BudgetSpent:
    """Says what was spent, and how to go on."""
    price = price_of(settings)
    cost = price.cost(limit.spent_s)
    money = f" ({cost:g} {price.currency})" if cost is not None else ""
    track, version = job.track, job.version
    return BudgetSpent(
        f"{limit}: {limit.spent_s:.1f} s{money} are spent. Raise it and ask again, `l07 train {track} --dataset {track}:{version}`: "
        "checkpoints stay, and the same job goes on from its last one",
        setting=limit.name,
    )


async def measured(
    run: Callable[[], Awaitable[Mapping[str, Any]]],
    own: Path,
    *,
    clock: Callable[[], float],
    meter: Callable[[], float | None],
) -> Mapping[str, Any]:
    """What `run` returns or raises; what it took stands in the attempt's folder, however it ended."""
    begun, joules = clock(), meter()
    try:
        return await run()
    finally:
        after = meter()
        used = after - joules if after is not None and joules is not None else None
        attempts.note_spent(own, Spent(clock() - begun, used))
