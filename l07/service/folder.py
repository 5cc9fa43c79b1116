"""The data folder, opened for a caller in Python under its lock: ledgers, files, trainer, curator; no bus or buffer."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from l07.backends import open as backends
from l07.backends.lock import DataLock
from l07.domain.erasure import Tombstones
from l07.domain.hardware import CHOICES
from l07.domain.job import JobConfig
from l07.ports import ArtifactStore, Curator, Ledger, Trainer
from l07.service.ingesting import open_erasures
from l07.service.reporting import Makers
from l07.settings import Lora, Settings

PURPOSE = "LearningService"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """What the service's parts stand on. `async with DataFolder.open(settings) as folder:`"""

    settings: Settings
    store: ArtifactStore
    bases: ArtifactStore
    datasets: Ledger
    jobs: Ledger
    registry: Ledger
    trainer: Trainer
    curator: Curator
    meter: Callable[[], float | None] = lambda: None  # joules; see `pipeline.train.Desk`
    trackers: Makers = field(default_factory=dict)
    erased: Tombstones = field(default_factory=Tombstones)  # as of its opening

    @property
    def key_file(self) -> Path:
        return self.settings.data_dir / "keys" / "registry.pem"

    @staticmethod
    @asynccontextmanager
    async def open(settings: Settings) -> AsyncIterator["DataFolder"]:
        """Raises FolderInUse (E7405) while an `l07 run` or another service works on it; FolderNotWritable (E7402).

        Curation runs in a thread of this process: a worker that is spawned would run the caller's script once more."""
        from l07.backends.worker import InlineCurator

        with DataLock(settings.data_dir, purpose=PURPOSE):
            erasures = open_erasures(settings)
            await erasures.look()
            yield DataFolder(
                settings=settings,
                store=backends.open_store(settings),
                bases=backends.open_bases(settings),
                datasets=backends.open_ledger(settings, "datasets"),
                jobs=backends.open_ledger(settings, "jobs"),
                registry=backends.open_ledger(settings, "registry"),
                trainer=backends.open_trainer(settings),
                curator=InlineCurator(),
                meter=backends.open_meter(settings),
                trackers=backends.open_reporters(settings),
                erased=erasures.tombstones,
            )


def with_track(settings: Settings, name: str, **changes: str) -> Settings:
    """The settings with a track of that name, as written there or by default; `changes` ("base_model") replace its own."""
    track = settings.track(name)
    track = track.model_copy(update=changes)
    return settings.model_copy(update={"tracks": {**settings.tracks, name: track}})


def with_config(settings: Settings, config: JobConfig | None) -> Settings:
    """The settings that train with exactly `config`; None changes nothing."""
    if config is None:
        return settings
    asked = config.lora_config
    lora = Lora(rank=asked.rank, alpha=asked.alpha, dropout=asked.dropout, embeddings=asked.embeddings, kind=asked.kind)
    training = settings.training.model_copy(
        update={
            "learning_rate": config.learning_rate,
            "batch_size": config.batch_size,
            "epochs": config.num_epochs,
            "max_length": config.max_length,
            "max_steps": config.max_steps,
            "clip": config.clip,
            "early_stop": config.early_stop,
            "adapter": config.adapter,
            "lora": lora,
            "micro_batch_size": config.micro_batch_size,
            **{name: getattr(config, name) for name in CHOICES},
        }
    )
    return settings.model_copy(update={"training": training})
