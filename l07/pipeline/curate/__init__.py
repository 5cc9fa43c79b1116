"""A sealed batch -> dataset.created, or batch.pending. Light: the work is done by the Curator, in its own process."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from l07.domain.erasure import Tombstones
from l07.domain.quality import CurateRules
from l07.errors import DatasetConflict
from l07.events import outbound
from l07.ports import ArtifactStore, CurateRequest, Curator, Entry, ExampleBuffer, Ledger, SealedBatch

if TYPE_CHECKING:  # the worker that builds imports this too, and needs no settings: a seventh of its start
    from l07.settings import Settings, Track

log = logging.getLogger("l07.curate")

CREATED = "dataset.created"
KEPT = "dataset.kept"  # a version from which somebody was erased, and of which too little is left to learn from
REVOKED = "dataset.revoked"
PENDING = "batch.pending"

EVENT_FIELDS = (
    "dataset", "version", "digest", "splits", "domains", "difficulties", "task_types", "groups",
    "score_mean", "score_deviation", "parent", "added", "removed", "batches",
)  # fmt: skip


class SealedData(Protocol):
    @property
    def track(self) -> str: ...
    @property
    def batch_id(self) -> str: ...


class Sealed(Protocol):
    """A batch.sealed event, as far as it is needed here."""

    @property
    def id(self) -> str: ...
    @property
    def correlationid(self) -> str | None: ...
    @property
    def data(self) -> SealedData: ...


class Batch(NamedTuple):
    """Of whom a version is asked for without an event."""

    track: str
    batch_id: str


class Asked(NamedTuple):
    """What stands in the place of batch.sealed where a person, an audit or an erasure asks for a version."""

    id: str
    data: Batch
    correlationid: str | None = None


async def curate_batch(
    cause: Sealed,
    *,
    buffer: ExampleBuffer,
    ledger: Ledger,
    store: ArtifactStore,
    curator: Curator,
    settings: "Settings",
) -> None:
    """Build the next version of the batch's track and record it; without one, record that the batch waits.

    May be repeated at every point: the version's folder appears whole, then the ledger says so, and only then the
    buffer lets the batches go. A folder that an interrupted run left without an entry is taken as it is, if it is of
    the same batches.

    A buffer that was rolled back behind what it had announced gives a batch's number to other runs. So a batch is known
    by its announcement's id, which is of its content: what the buffer holds under that number now, if it is another
    batch, has its own announcement, and the runs of the old one come again in others.

    Raises CuratorDied (Transient), DatasetChanged, DatasetUnreadable, GoldenUnreadable, DatasetConflict (Fatal)."""
    waiting = Waiting(cause.data.batch_id, cause.id)
    state = Standing.of(await ledger.entries(), cause.data.track)
    done = state.version_with(waiting)
    if done is None and waiting not in state.pending:
        done = await _curate(
            cause, state, buffer=buffer, ledger=ledger, store=store, curator=curator, settings=settings
        )
    if done is not None:
        await _release(done, buffer)


async def _curate(
    cause: Sealed,
    state: "Standing",
    *,
    buffer: ExampleBuffer,
    ledger: Ledger,
    store: ArtifactStore,
    curator: Curator,
    settings: "Settings",
) -> Entry | None:
    track, batch_id = cause.data.track, cause.data.batch_id
    batch = await buffer.read(batch_id)
    if identity(batch) != cause.id:
        log.warning("batch_rolled_back", extra={"batch": batch_id, "id": cause.id})
        return None
    batches = [*await _held(state.pending, buffer), batch]
    made = await next_version(cause, batches, state, ledger=ledger, store=store, curator=curator, settings=settings)
    if isinstance(made, Entry):
        return made
    body = {"track": track, "batch_id": batch_id, "cause": cause.id, **made}
    taken = await ledger.find(PENDING, batch_id)
    key = batch_id if taken is None or taken.body["cause"] == cause.id else f"{batch_id}/{cause.id}"
    await ledger.append(PENDING, key, body, at=_time(batches[-1].seal.sealed_at_ms))
    return None


def identity(batch: SealedBatch) -> str:
    """The id of the batch's announcement."""
    return outbound.from_seal(batch.seal, [row.key for row in batch.rows]).id


async def _held(announced: "Sequence[Waiting]", buffer: ExampleBuffer) -> list[SealedBatch]:
    """Those that the buffer still holds; the others were released, or the buffer was rolled back behind them."""
    there = set((await buffer.status()).batches) if announced else set()
    found: list[SealedBatch] = []
    for waiting in announced:
        if waiting.batch_id in there:
            batch = await buffer.read(waiting.batch_id)
            if waiting.cause in ("", identity(batch)):
                found.append(batch)
    return found


async def _release(done: Entry, buffer: ExampleBuffer) -> None:
    announced = done.body.get("announced", {})
    for batch in await _held([Waiting(name, announced.get(name, "")) for name in done.body["batches"]], buffer):
        await buffer.release(batch.seal.batch_id)


async def next_version(
    cause: Sealed,
    batches: Sequence[SealedBatch],
    state: "Standing",
    *,
    ledger: Ledger,
    store: ArtifactStore,
    curator: Curator,
    settings: "Settings",
    erased: Tombstones | None = None,
    at: str = "",
) -> Entry | Mapping[str, Any]:
    """The recorded version that takes these batches in, or why there is none; then nothing is recorded.

    With `erased` there need be no batch, and there always is a version: it is recorded `at` then."""
    track = cause.data.track
    scratch = store.scratch(f"dataset-{cause.data.batch_id}")
    request = _request(track, batches, state, scratch, store=store, settings=settings)
    request = replace(request, erased=erased)
    curated = await curator.build(request)
    if not curated.version:
        shutil.rmtree(scratch, ignore_errors=True)
        return curated.summary
    uri = f"datasets/{track}/{curated.version}"
    await store.publish(scratch, uri)
    manifest = await curator.summary(store.path(uri))
    ids = [batch.seal.batch_id for batch in batches]
    if list(manifest["batches"]) != ids:
        raise DatasetConflict(f"{uri} was built from {manifest['batches']}, not from {ids}; move it away", uri=uri)
    at = at or _time(batches[-1].seal.sealed_at_ms)
    body = _body(cause, manifest, uri) | {"announced": {batch.seal.batch_id: identity(batch) for batch in batches}}
    kind = KEPT if "withheld" in manifest else CREATED
    return await ledger.append(kind, f"{track}:{curated.version}", body, at=at)


def _request(
    track: str,
    batches: Sequence[SealedBatch],
    state: "Standing",
    scratch: Path,
    *,
    store: ArtifactStore,
    settings: "Settings",
) -> CurateRequest:
    rule = settings.track(track)
    return CurateRequest(
        track=track,
        batches=batches,
        rules=rules_of(settings, rule),
        parent=store.path(state.newest.body["data"]["uri"]) if state.newest else None,
        golden=Path(rule.golden) if rule.golden else None,
        output=scratch,
        marks=settings.data_dir / "keys" / "marks.key",
    )


def rules_of(settings: "Settings", track: "Track") -> CurateRules:
    """The numbers that a version depends on."""
    rule = settings.filter
    return CurateRules(
        seed=settings.seed,
        quality_threshold=rule.quality_threshold,
        confidence_threshold=rule.confidence_threshold,
        max_outlier_probability=rule.max_outlier_probability,
        outlier_z=rule.outlier_z,
        near_duplicate_similarity=rule.near_duplicate_similarity,
        cluster_similarity=rule.cluster_similarity,
        scrub_secrets=rule.scrub.secrets,
        scrub_personal=rule.scrub.personal,
        max_secrets=rule.max_secrets,
        max_personal=rule.max_personal,
        scanners=rule.scanners,
        contrast_ratio=settings.contrast.max_ratio,
        max_examples=track.max_examples,
        max_per_task=rule.max_per_task,
        completeness=rule.completeness.enabled,
        exact_duplicates=rule.duplicates.exact,
        near_duplicates=rule.duplicates.near,
        outliers=rule.outliers.enabled,
        doubt=rule.doubt.enabled,
        doubt_run_share=rule.doubt.run_share,
        doubt_label_share=rule.doubt.label_share,
        injection=rule.injection.enabled,
        injection_threshold=rule.injection.threshold,
        injection_scanner=rule.injection.scanner,
        pacing=settings.curriculum.pacing,
        license=track.license,
    )


def _body(cause: Sealed, manifest: Mapping[str, Any], uri: str) -> dict[str, Any]:
    tables = {name: manifest[name] for name in ("contrast", "review")}
    return {
        "subject": f"datasets/{manifest['dataset']}:{manifest['version']}",
        "causationid": cause.id,
        "correlationid": cause.correlationid,
        "data": {
            **{name: manifest[name] for name in EVENT_FIELDS},
            "uri": uri,
            "dropped": manifest["reasons"],
            "tables": tables,
            "own_share": manifest.get("own", {}).get("share"),
        },
        **{name: manifest[name] for name in ("batches", "altered", "counts", "notes", "golden", "seed")},
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Waiting(NamedTuple):
    """A batch as it was announced; the cause "" stands for any of that number."""

    batch_id: str
    cause: str = ""  # the announcement's id


class Standing:
    """Where a track stands: a fold over the ledger."""

    def __init__(self) -> None:
        self.versions: list[Entry] = []  # that are not revoked
        self.pending: list[Waiting] = []  # batches that wait, in the order of their entries
        self._version_of: dict[Waiting, Entry] = {}

    @classmethod
    def of(cls, entries: Sequence[Entry], track: str) -> "Standing":
        state = cls()
        for entry in entries:
            if entry.kind in (CREATED, KEPT, REVOKED) and entry.body["data"]["dataset"] != track:
                continue
            if entry.kind == REVOKED:
                state.versions = [version for version in state.versions if version.key != entry.key]
            elif entry.kind in (CREATED, KEPT):
                state.versions.append(entry)
                announced = entry.body.get("announced", {})
                for batch_id in entry.body.get("batches", ()):
                    names = {Waiting(batch_id), Waiting(batch_id, announced.get(batch_id, ""))}
                    state._version_of |= dict.fromkeys(names, entry)
                state.pending = [batch for batch in state.pending if batch not in state._version_of]
            elif entry.kind == PENDING and entry.body["track"] == track:
                state.pending.append(Waiting(entry.body["batch_id"], entry.body["cause"]))
        return state

    @property
    def newest(self) -> Entry | None:
        """What the next version follows."""
        return self.versions[-1] if self.versions else None

    def version_with(self, batch: Waiting) -> Entry | None:
        """The entry of the version that took the batch in."""
        return self._version_of.get(batch)
