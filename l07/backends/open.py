"""Settings -> backends. Each brand is imported only when it is asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from l07.errors import BadSetting
from l07.ports import Bus, Curator, ExampleBuffer, Trainer
from l07.settings import Settings

if TYPE_CHECKING:
    from l07.backends.redis import BufferRules
    from l07.backends.redis.client import Client
    from l07.backends.store import FolderLedger, FolderStore

LEDGERS = ("datasets", "jobs", "registry")
BUFFER_URLS = ("redis://", "rediss://", "unix://")
READING = "l07 status"  # the purpose under which a reader holds the folder's lock


def bus_path(settings: Settings) -> Path:
    """The SQLite file of the bus. Raises BadSetting (E7501) for a URL of another brand."""
    url = settings.bus.url
    if not url:
        return settings.data_dir / "bus.db"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return Path(url[len("sqlite:///") :])
    text = f"bus.url = {url!r}: only sqlite:///PATH is built; a path from the root has four slashes"
    raise BadSetting(text, name="bus.url")


def check_urls(settings: Settings) -> None:
    """Refuse what no backend here can open, without opening anything. Raises BadSetting (E7501)."""
    bus_path(settings)
    if settings.buffer.url and not settings.buffer.url.startswith(BUFFER_URLS):
        text = f"buffer.url = {settings.buffer.url!r}: it begins with none of {', '.join(BUFFER_URLS)}"
        raise BadSetting(text, name="buffer.url")


@asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus of these settings. Several processes may have it open."""
    from l07.backends.sqlite import SqliteBus

    async with SqliteBus.open(bus_path(settings), partitions=settings.bus.partitions) as bus:
        yield bus


@asynccontextmanager
async def open_buffer(settings: Settings, *, attach: bool = False) -> AsyncIterator[ExampleBuffer]:
    """The buffer of these settings.

    Without `attach` its server is started and ended here: the caller holds the folder's lock. With it the server that
    another process has started is used, and only `status` and `positions` may be called.

    Raises: NoLiveBuffer E7464 with `attach`; FolderInUse E7405, ValkeyMissing E7463, ValkeyNotStarted E7462 without."""
    from l07.backends.redis import RedisBuffer

    async with _client(settings, attach=attach) as client:
        name, rules = settings.buffer.name, buffer_rules(settings)
        yield RedisBuffer(client, name, rules) if attach else await RedisBuffer.open(client, name, rules)


@asynccontextmanager
async def _client(settings: Settings, *, attach: bool) -> AsyncIterator["Client"]:
    from l07.backends import embedded
    from l07.backends.redis import connect

    check_urls(settings)
    if settings.buffer.url:
        client = connect(settings.buffer.url)
        try:
            yield client
        finally:
            await client.aclose()
        return
    holder = embedded.attach(settings.data_dir) if attach else embedded.EmbeddedRedis(settings.data_dir)
    async with holder as client:
        yield client


def has_buffer(settings: Settings) -> bool:
    """Whether there is anything to read. A command that only reads leaves no new files behind."""
    return bool(settings.buffer.url) or (settings.data_dir / "buffer").is_dir()


@asynccontextmanager
async def buffer_alone(settings: Settings) -> AsyncIterator[ExampleBuffer]:
    """The buffer for reading where no `l07 run` works: the folder is locked, the server started and ended for it.

    Raises: FolderInUse E7405, with the holder's `purpose`; ValkeyMissing E7463, ValkeyNotStarted E7462."""
    from l07.backends.lock import DataLock

    with DataLock(settings.data_dir, purpose=READING):
        async with open_buffer(settings) as buffer:
            yield buffer


def buffer_rules(settings: Settings) -> "BufferRules":
    """What the script decides by, taken from the settings."""
    from l07.backends.redis import BufferRules, SealTrigger

    topics = settings.topics
    return BufferRules(
        trace_topics=frozenset({topics.traces, topics.planning}),
        score_topics=frozenset({topics.scores}),
        quality_threshold=settings.filter.quality_threshold,
        confidence_threshold=settings.filter.confidence_threshold,
        wait_s=settings.join.wait_s,
        prefer_separate_s=settings.join.prefer_separate_s,
        remember_s=settings.buffer.remember_s,
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
    """Training and evaluation as child processes."""
    from l07.backends.child import ChildTrainer

    return ChildTrainer()
