"""Who listens to what: one table a consumer. Ports are bound here, and nowhere else."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from l07.events import outbound
from l07.ports import ArtifactStore, Curator, ExampleBuffer, Ledger, Trainer
from l07.runner import Routes
from l07.settings import Settings

CONSUMERS = ("curate", "train", "validate", "release")
WRITES: Mapping[str, Sequence[str]] = {  # whoever writes a ledger announces it, what a killed one left there too
    "curate": ("datasets", "registry"),  # an erasure taints models
    "train": ("jobs", "registry"),
    "validate": ("registry",),
    "release": ("registry",),
}


@dataclass(frozen=True, slots=True)
class Ports:
    """What the consumers need of the world."""

    settings: Settings
    buffer: ExampleBuffer | None  # only the curator reads it
    store: ArtifactStore
    bases: ArtifactStore
    datasets: Ledger
    jobs: Ledger
    registry: Ledger
    trainer: Trainer
    curator: Curator
    key_file: Path

    def ledgers(self, consumers: Collection[str]) -> Sequence[Ledger]:
        """What these consumers write, in the order in which one causes the other."""
        names = {name for consumer in consumers for name in WRITES[consumer]}
        return [ledger for ledger in (self.datasets, self.jobs, self.registry) if ledger.name in names]


def routes(consumer: str, ports: Ports) -> Routes:
    """The table of one consumer. Imports are inside: a consumer brings in only what it needs."""
    tables: Mapping[str, Callable[[Ports], Routes]] = {
        "curate": _curate,
        "train": _train,
        "validate": _validate,
        "release": _release,
    }
    return tables[consumer](ports)


def _curate(ports: Ports) -> Routes:
    from l07.pipeline.curate import curate_batch

    assert ports.buffer is not None  # who opens the curator opens its buffer
    handler = partial(
        curate_batch,
        buffer=ports.buffer,
        ledger=ports.datasets,
        store=ports.store,
        curator=ports.curator,
        settings=ports.settings,
    )
    return {outbound.BatchSealed: handler}


def _train(ports: Ports) -> Routes:
    from l07.pipeline.train import on_dataset_created

    return {
        outbound.DatasetCreated: partial(
            on_dataset_created, jobs=ports.jobs, datasets=ports.datasets, settings=ports.settings
        )
    }


def _validate(ports: Ports) -> Routes:
    from l07.pipeline.validate import validate_model

    handler = partial(
        validate_model,
        registry=ports.registry,
        store=ports.store,
        trainer=ports.trainer,
        settings=ports.settings,
        key_file=ports.key_file,
    )
    return {outbound.ModelRegistered: handler}


def _release(ports: Ports) -> Routes:
    from l07.pipeline.release import on_model_validated

    handler = partial(on_model_validated, registry=ports.registry, store=ports.store, key_file=ports.key_file)
    return {outbound.ModelValidated: handler}


def input_topics(settings: Settings) -> tuple[str, ...]:
    """What the ingest reads."""
    return settings.topics.read
