"""Datasets for a caller in Python: the examples of a call as one sealed batch, then the curator's own functions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from l07.domain.dataset.version import Refusal
from l07.domain.example import TrainingExample
from l07.errors import BadArtifactName, DatasetRevoked, NothingByThatName
from l07.pipeline import curate
from l07.pipeline.forget.buffer import is_run_erased
from l07.pipeline.release import MODEL_NAME
from l07.ports import Entry, HeldRun, Seal, SealedBatch, SealedRow
from l07.service.extracting import TrainingDataExtractor, as_row
from l07.service.folder import DataFolder, with_track


@dataclass(frozen=True, slots=True)
class Dataset:
    """One published version. `datasets.load_dataset(str(dataset.folder))` reads it."""

    dataset_id: str  # "<name>:<version>"
    name: str
    version: str
    digest: str
    uri: str
    folder: Path
    splits: Mapping[str, int]  # rows of train, validation, test
    created_at: str  # RFC 3339
    data: Mapping[str, Any]  # all that dataset.created says


@dataclass(slots=True)
class DatasetCurator:
    """Versions of the tracks in one data folder. `extractor`: where the events behind the examples are known."""

    folder: DataFolder
    extractor: TrainingDataExtractor = field(default_factory=TrainingDataExtractor)
    total_datasets: int = 0  # versions, as of the last call

    async def create_dataset(self, *, name: str, examples: Sequence[TrainingExample], now: datetime) -> Dataset:
        """The next version of the track `name`, with these examples added to those of the version before.

        An example below a gate goes beside the splits (`contrast`), never into one. What was erased (`l07 forget`) does not
        come in again. The same examples again change
        nothing: the version that has them comes back.

        Raises:
            TooFewGroups: E7101, fewer than ten groups of accepted runs, or a split would be empty.
            BadArtifactName: E7406. DatasetConflict (E7106), GoldenUnreadable (E7105), StoreFull (E7400)."""
        if not MODEL_NAME.fullmatch(name):
            raise BadArtifactName(f"{name!r} is no name for a dataset: letters, digits, '_', '-', '.'", name=name)
        rows = [self._row(number, example) for number, example in enumerate(examples)]
        batch = _sealed(name, [row for row in rows if not self._is_erased(row)], now)
        entries = await self.folder.datasets.entries()
        standing = curate.Standing.of(entries, name)
        entry = standing.version_with(curate.Waiting(batch.seal.batch_id)) or await self._next_version(batch, standing)
        if standing.newest is not None and await self.folder.datasets.find(curate.REVOKED, entry.key):
            entry = standing.newest  # somebody was erased from it since
        await self.refresh()
        return self._dataset(entry)

    async def get_dataset(self, dataset_id: str) -> Dataset:
        """Raises NothingByThatName (E7903), with what is there; DatasetRevoked (E7122), with what came in its place."""
        await self._check_not_revoked(dataset_id)
        entry = await self.folder.datasets.find(curate.CREATED, dataset_id)
        if entry is None:
            here = ", ".join(dataset.dataset_id for dataset in (await self.list_datasets())[-3:]) or "none yet"
            raise NothingByThatName(f"there is no dataset {dataset_id}; the newest are: {here}", id=dataset_id)
        return self._dataset(entry)

    async def list_datasets(self) -> list[Dataset]:
        """Every version of every track that is not revoked, oldest first."""
        entries = await self.folder.datasets.entries()
        revoked = {entry.key for entry in entries if entry.kind == curate.REVOKED}
        return [self._dataset(entry) for entry in entries if entry.kind == curate.CREATED and entry.key not in revoked]

    async def _check_not_revoked(self, dataset_id: str) -> None:
        revoked = await self.folder.datasets.find(curate.REVOKED, dataset_id)
        if revoked is not None:
            successor = revoked.body["data"]["successor"]
            text = f"{dataset_id} was revoked: data had to be erased from it; {successor} is the version without them"
            raise DatasetRevoked(text, id=dataset_id)

    async def refresh(self) -> None:
        self.total_datasets = len(await self.list_datasets())

    def statistics(self) -> dict[str, Any]:
        return {"total_datasets": self.total_datasets}

    async def _next_version(self, batch: SealedBatch, standing: curate.Standing) -> Entry:
        folder = self.folder
        made = await curate.next_version(
            curate.Asked(f"asked:{batch.seal.batch_id}", curate.Batch(batch.seal.track, batch.seal.batch_id)),
            [batch],
            standing,
            ledger=folder.datasets,
            store=folder.store,
            curator=folder.curator,
            settings=with_track(folder.settings, batch.seal.track),
        )
        if isinstance(made, Entry):
            return made
        refusal = Refusal(**made)
        if refusal.reason == "no_change" and standing.newest is not None:
            return standing.newest
        refusal.raise_()
        raise AssertionError("a refusal raises")

    def _is_erased(self, row: SealedRow) -> bool:
        run = HeldRun(row.key, [body for body in (row.trace, row.request, row.evaluation) if body])
        return bool(self.folder.erased) and is_run_erased(run, self.folder.erased)

    def _row(self, number: int, example: TrainingExample) -> SealedRow:
        return self.extractor.row_of(example) or as_row(example, number=number, settings=self.folder.settings)

    def _dataset(self, entry: Entry) -> Dataset:
        data = entry.body["data"]
        return Dataset(
            dataset_id=entry.key,
            name=data["dataset"],
            version=data["version"],
            digest=data["digest"],
            uri=data["uri"],
            folder=self.folder.store.path(data["uri"]),
            splits=data["splits"],
            created_at=entry.at,
            data=data,
        )


def _sealed(name: str, rows: Sequence[SealedRow], now: datetime) -> SealedBatch:
    """The id follows from what is in it, so that the same call twice is one batch."""
    digest = hashlib.sha256()
    for row in rows:
        parts = (row.key, row.score, row.confidence, row.decision, row.trace, row.evaluation)
        digest.update(repr((*parts, row.request) if row.request else parts).encode())
    accepted = sum(row.decision == "ACCEPT" for row in rows)
    seal = Seal(
        batch_id=f"{name}-python-{digest.hexdigest()[:16]}",
        track=name,
        cause="idle",
        sealed_at_ms=int(now.timestamp() * 1000),
        accepted=accepted,
        rejected=len(rows) - accepted,
        first={},
        last={},
    )
    return SealedBatch(seal, rows)
