"""Settings -> backends. Each brand is imported only when it is asked for."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from l07.backends.address import Access, Address, address_of
from l07.errors import BadSetting
from l07.ports import Bus, Curator, ExampleBuffer, Reporter, Trainer
from l07.settings import Settings

if TYPE_CHECKING:
    from l07.backends.redis import BufferRules
    from l07.backends.redis.client import Client
    from l07.backends.store import FolderLeases, FolderLedger, FolderStore
    from l07.domain.marks import Marks

LEDGERS = ("datasets", "jobs", "registry", "erasures", "exports")
MARKS_KEY = "marks.key"
READING = "l07 status"  # the purpose under which a reader holds the folder's lock


def is_server(url: str) -> bool:
    """Whether this bus is a server's, and no file."""
    return url.startswith("kafka://")


def bus_path(settings: Settings) -> Path:
    """The SQLite file of the bus. Raises BadSetting (E7501) for a URL of another brand."""
    url = settings.bus.url
    if not url:
        return settings.data_dir / "bus.db"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return Path(url[len("sqlite:///") :])
    text = f"bus.url = {url!r}: neither kafka://HOST:PORT[,HOST:PORT] nor sqlite:///PATH; a path from the root has four slashes"
    raise BadSetting(text, name="bus.url")


def check_urls(settings: Settings) -> None:
    """Refuse what no backend here can open, without opening anything. Raises BadSetting (E7501)."""
    if is_server(settings.bus.url):
        from l07.backends.kafka.config import brokers

        brokers(settings).tls()
    else:
        bus_path(settings)
    buffer_address(settings)


def buffer_address(settings: Settings) -> Address | None:
    """Where the buffer's server is and who we are there; None: the embedded one. Raises BadSetting (E7501)."""
    said = settings.buffer
    if not said.url:
        return None
    secret = said.password.get_secret_value()
    return address_of(said.url, Access(said.username, secret, said.ca_file, said.cert_file, said.key_file))


@asynccontextmanager
async def open_bus(settings: Settings, *, check: bool = True) -> AsyncIterator[Bus]:
    """The bus of these settings. Several processes may have it open. Without `check` a server's topics are not looked at:
    for whoever only reads some of them.

    Raises, of Kafka: BusLoginRefused E7410, TopicMissing E7412, TopicUnfit E7413, ClientMissing E7416."""
    if is_server(settings.bus.url):
        from l07.backends.kafka import open_kafka

        async with open_kafka(settings, check=check) as bus:
            yield bus
        return
    from l07.backends.sqlite import SqliteBus

    async with SqliteBus.open(bus_path(settings), partitions=settings.bus.partitions) as bus:
        yield bus


@asynccontextmanager
async def open_buffer(settings: Settings, *, attach: bool = False) -> AsyncIterator[ExampleBuffer]:
    """The buffer of these settings.

    Without `attach` an embedded server is started and ended here: the caller holds the folder's lock. With it nothing is
    started and nothing written: the server that another process has started, or the one of `buffer.url`, is read, and
    only `status`, `positions`, `memory` and `find` may be called.

    Raises: NoLiveBuffer E7464 with `attach`; FolderInUse E7405, ValkeyMissing E7463, ValkeyNotStarted E7462 without;
    BufferShardsDiffer E7470."""
    from l07.backends.redis.sharded import attach_shards, open_shards

    async with _clients(settings, attach=attach) as clients:
        open_ = attach_shards if attach else open_shards
        yield await open_(clients, settings.buffer.name, buffer_rules(settings))


@asynccontextmanager
async def _clients(settings: Settings, *, attach: bool) -> AsyncIterator["list[Client]"]:
    from l07.backends import embedded
    from l07.backends.redis.cluster import connect_shards

    check_urls(settings)
    address = buffer_address(settings)
    if address is not None:
        clients = connect_shards(address, settings.buffer.name, settings.buffer.shards)
        try:
            yield clients
        finally:
            await clients[0].aclose()  # they share what they have open
        return
    holder = embedded.attach(settings.data_dir) if attach else embedded.EmbeddedRedis(settings.data_dir)
    async with holder as client:
        yield [client] * settings.buffer.shards


def has_buffer(settings: Settings) -> bool:
    """Whether there is anything to read. A command that only reads leaves no new files behind."""
    return bool(settings.buffer.url) or (settings.data_dir / "buffer").is_dir()


@asynccontextmanager
async def buffer_alone(settings: Settings) -> AsyncIterator[ExampleBuffer]:
    """The buffer for reading where no `l07 run` works: the folder is locked, the server started and ended for it. A server's
    buffer is shared: it is read as it is.

    Raises: FolderInUse E7405, with the holder's `purpose`; ValkeyMissing E7463, ValkeyNotStarted E7462."""
    with held_folder(settings, purpose=READING):
        async with open_buffer(settings, attach=bool(settings.buffer.url)) as buffer:
            yield buffer


@contextmanager
def held_folder(settings: Settings, *, purpose: str = "l07 run") -> Iterator[None]:
    """The data folder's lock while the buffer is the folder's own; a server's buffer is shared, and needs none.

    Raises: FolderInUse E7405."""
    from l07.backends.lock import DataLock

    with nullcontext() if settings.buffer.url else DataLock(settings.data_dir, purpose=purpose):
        yield


def buffer_rules(settings: Settings) -> "BufferRules":
    """What the script decides by, taken from the settings."""
    from l07.backends.redis import BufferRules, SealTrigger

    topics = settings.topics
    return BufferRules(
        trace_topics=frozenset({topics.traces, topics.planning, *topics.of_payloads}),
        score_topics=frozenset({topics.scores}),
        payload_topics=frozenset(topics.of_payloads),
        quality_threshold=settings.filter.quality_threshold,
        confidence_threshold=settings.filter.confidence_threshold,
        wait_s=settings.join.wait_s,
        prefer_separate_s=settings.join.prefer_separate_s,
        remember_s=settings.buffer.remember_s,
        contrast_ratio=settings.contrast.max_ratio,
        seals={
            name: SealTrigger(track.seal.count, track.seal.max_age_s, track.seal.min_count)
            for name, track in settings.tracks.items()
        },
    )


def ledger_root(settings: Settings) -> Path:
    return settings.data_dir / "ledgers"


def open_ledger(settings: Settings, name: str) -> "FolderLedger":
    """One of LEDGERS. Several processes may read and append."""
    from l07.backends.store import FolderLedger

    return FolderLedger(ledger_root(settings), name)


def open_marks(settings: Settings, *, make: bool = True) -> "Marks":
    """Keyed hashes of ids that may not be kept. Raises SecretExposed E7120; SecretMissing E7121 where `make` is false."""
    from l07.backends import secret

    return secret.open_marks(settings.data_dir / "keys" / MARKS_KEY, make=make)


def marks_if_any(settings: Settings) -> "Marks | None":
    """None where there is no key file: nothing was ever marked. Raises SecretExposed E7120, SecretMissing E7121."""
    from l07.backends import secret

    path = settings.data_dir / "keys" / MARKS_KEY
    return secret.open_marks(path, make=False) if path.exists() else None


def open_leases(settings: Settings) -> "FolderLeases":
    """Who trains which track: beside the ledgers, outside their chains."""
    from l07.backends.store import FolderLeases

    return FolderLeases(settings.data_dir / "leases", ttl_s=3 * settings.training.lease_renew_s)


def open_store(settings: Settings) -> "FolderStore":
    """Datasets, jobs and models as folders of the data folder."""
    from l07.backends.store import FolderStore

    return FolderStore(settings.data_dir)


def open_bases(settings: Settings) -> "FolderStore":
    """Where tiny bases are kept: the data folder, or a folder that several data folders share."""
    from l07.backends.store import FolderStore

    return FolderStore(Path(settings.models.cache_dir) if settings.models.cache_dir else settings.data_dir)


@asynccontextmanager
async def open_curator(settings: Settings) -> AsyncIterator[Curator]:
    """Builds datasets in a worker process, which is started at the first build."""
    from l07.backends.worker import ProcessCurator

    async with ProcessCurator() as curator:
        yield curator


def open_trainer(settings: Settings) -> Trainer:
    """Training and evaluation as child processes; with `training.launcher = torchrun` several train one job."""
    training = settings.training
    if training.launcher == "torchrun":
        from l07.backends.torchrun import TorchrunTrainer

        return TorchrunTrainer(training.processes, training.nodes, training.rendezvous, training.grace_s)
    from l07.backends.child import ChildTrainer

    return ChildTrainer(grace_s=training.grace_s)


def open_meter(settings: Settings) -> Callable[[], float | None]:
    """Joules that the machine used so far; None where nothing counts them, or where several jobs at a time share it."""
    if settings.training.concurrency > 1:
        return lambda: None
    from l07.backends.energy import Meter

    return Meter()


def open_reporters(settings: Settings) -> Mapping[str, Callable[[], Reporter]]:
    """Trackers by name; see `backends.reporters`. Raises ReporterUnusable (E7731)."""
    if not settings.training.reporters:
        return {}
    from l07.backends.reporters import reporters

    return reporters(settings)
