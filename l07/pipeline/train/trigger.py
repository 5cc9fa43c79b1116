"""dataset.created -> job.queued, or job.declined with the reason."""

from collections.abc import Sequence
from datetime import datetime

from l07.events.outbound import DatasetCreated
from l07.ports import Entry, Ledger
from l07.settings import Settings


async def on_dataset_created(cause: DatasetCreated, *, jobs: Ledger, datasets: Ledger, settings: Settings) -> None:
    """Queue a job for this version, or record why not. A newer queued version of a track replaces an older one.

    What was decided stays: a repeat, however late, decides nothing again."""
    data = cause.data
    key = f"{data.dataset}:{data.version}"
    if await jobs.find("job.queued", key) or await jobs.find("job.declined", key):
        return
    track = settings.tracks.get(data.dataset)
    if track is None:
        await jobs.append("job.declined", key, {"reason": "no such track in the settings"}, at=cause.time)
        return
    revoked = await _revoked(datasets)
    if key in revoked:
        reason = "the version was revoked"
    else:
        reason = await _why_not(cause, jobs=jobs, datasets=datasets, settings=settings, revoked=revoked)
    body = {
        "track": data.dataset,
        "version": data.version,
        "digest": data.digest,
        "uri": data.uri,
        "cause": cause.id,
        "correlationid": cause.correlationid,
        "priority": track.train.priority,
    }
    if reason:
        await jobs.append("job.declined", key, {**body, "reason": reason}, at=cause.time)
    else:
        await jobs.append("job.queued", key, body, at=cause.time)


async def _revoked(datasets: Ledger) -> frozenset[str]:
    """Versions, "<track>:<version>"; whatever learnt from one is to be replaced."""
    return frozenset(entry.key for entry in await datasets.entries() if entry.kind == "dataset.revoked")


async def _why_not(
    cause: DatasetCreated, *, jobs: Ledger, datasets: Ledger, settings: Settings, revoked: frozenset[str]
) -> str:
    rule = settings.tracks[cause.data.dataset].train
    rows = cause.data.splits.get("train", 0)
    if rows < rule.min_rows:
        return f"{rows} train rows of the {rule.min_rows} that a job needs"
    last = _last_trained(await jobs.entries(), cause.data.dataset, settings.tracks[cause.data.dataset].method)
    if last is None or f"{cause.data.dataset}:{last.body['data']['dataset_version']}" in revoked:
        return ""
    new = await _rows_added_since(
        datasets, cause.data.dataset, str(last.body["data"]["dataset_version"]), cause.data.version
    )
    share = new / max(1, int(last.body["data"]["train_rows"]))
    age_s = (datetime.fromisoformat(cause.time) - datetime.fromisoformat(last.at)).total_seconds()
    if share < rule.min_new_share and age_s < rule.max_age_s:
        return f"{share:.0%} new rows of the {rule.min_new_share:.0%} that a job needs, and the last training is {age_s / 3600:.0f} h old"
    return ""


def _last_trained(entries: Sequence[Entry], track: str, method: str) -> Entry | None:
    """By the track's own method: another one that a person tried says nothing about when the track is due."""
    done = [e for e in entries if e.kind == "training.completed" and e.body["data"]["track"] == track]
    own = [entry for entry in done if entry.body["data"].get("method", method) == method]
    return own[-1] if own else None


async def _rows_added_since(datasets: Ledger, track: str, trained: str, now: str) -> int:
    added, counting = 0, False
    for entry in await datasets.entries():
        if entry.kind != "dataset.created" or entry.body["data"]["dataset"] != track:
            continue
        if counting:
            added += int(entry.body["data"]["added"])
        counting = counting or entry.body["data"]["version"] == trained
        if entry.body["data"]["version"] == now:
            break
    return added
