"""Where versions are built: a spawned worker process, so that neither memory nor seconds of it weigh on the event
loop."""

import asyncio
import gc
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache, partial
from itertools import count
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from l07.backends.heap import ALL, give_back_memory, keep_freed_memory
from l07.backends.secret import open_marks
from l07.domain.erasure import Tombstones
from l07.domain.marks import SUBJECT, Marks
from l07.errors import CuratorDied, GoldenUnreadable, disk_errors
from l07.ports import Curated, CurateRequest

if TYPE_CHECKING:  # the worker imports these; they bring in numpy, pyarrow and re2
    from l07.backends.parquet.thinning import Beginning
    from l07.pipeline.curate.build import Golden

Result = TypeVar("Result")


class ProcessCurator:
    """One worker, started at the first build and kept: its imports take longer than a small build."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def build(self, request: CurateRequest) -> Curated:
        """See ports.Curator. Raises CuratorDied (E7104) when the worker is killed; the next call starts another."""
        return await self._in_worker(build_version, request)

    async def erased_in(self, folder: Path, tombstones: Tombstones) -> Sequence[str]:
        return await self._in_worker(erased_in, (folder, tombstones))

    async def summary(self, folder: Path) -> Mapping[str, Any]:
        return await self._in_worker(read_summary, folder, swept=False)

    async def _in_worker(self, work: Callable[[Any], Result], argument: object, *, swept: bool = True) -> Result:
        """Not `swept`: what it leaves behind is too little to be collected."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin)
        try:
            call = partial(_swept, work) if swept else work
            return await asyncio.get_running_loop().run_in_executor(self._pool, call, argument)
        except BrokenProcessPool as err:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown(wait=False)
            raise CuratorDied("the worker process that builds datasets was killed; out of memory?") from err


class InlineCurator:
    """The same work in this process, for tests and for small datasets of a caller who waits anyway."""

    async def build(self, request: CurateRequest) -> Curated:
        return await asyncio.to_thread(build_version, request)

    async def erased_in(self, folder: Path, tombstones: Tombstones) -> Sequence[str]:
        return await asyncio.to_thread(erased_in, (folder, tombstones))

    async def summary(self, folder: Path) -> Mapping[str, Any]:
        return await asyncio.to_thread(read_summary, folder)


# A build holds hundreds of thousands of objects: with Python's own thresholds the collector's walks over them were an
# eighth of it. What is in cycles goes at the build's end instead.
GC_THRESHOLDS = (500_000, 20, 20)


def _begin() -> None:
    """In the worker. Ctrl-C goes to the whole terminal, but only the parent decides; and a worker never outlives its
    parent."""
    gc.set_threshold(*GC_THRESHOLDS)
    _keep_one_heap()
    _keep_arrow_alone()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _keep_one_heap() -> None:
    """For Python, numpy and Arrow, which a build keeps to its end: pages that went back and were fetched again, by Arrow's
    own pool most of all, were a seventh of it. Arrow looks at its variable when it is imported."""
    if keep_freed_memory(ALL):
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # of numpy, for products of matrices; here they would only wait, and spin


def _keep_arrow_alone() -> None:
    from l07.backends.parquet_alone import hide_pandas

    hide_pandas()


IDLE_S = 2.0  # looks this far apart find no build: then what is free goes back to the system


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        _watch(lambda: bool(connection.wait([parent.sentinel], IDLE_S)))
        os._exit(1)  # kill -9 of the parent: nobody is left to whom an orderly end would matter


def _watch(is_over: Callable[[], bool]) -> None:
    """Memory that a build has freed stays for one that comes soon: to give it back and to fetch it again was a fortieth of a
    build of 10,000 rows."""
    seen = given = _ended
    while not is_over():
        if seen == _ended != given and not _at_work:
            give_back_memory()
            given = _ended
        seen = _ended


# ------------------------------------------------------------------ in the worker


_at_work = False
_ended = 0  # builds so far


def _swept(work: Callable[[Any], Result], argument: object) -> Result:
    """Done, and what it left behind collected: else the next build's memory comes on top of this one's."""
    global _at_work, _ended
    _at_work = True
    _set_aside()
    try:
        return work(argument)
    finally:
        gc.collect()
        _at_work, _ended = False, _ended + 1


AGAIN = 64  # builds after which the collector looks at everything once more

_builds = count()


def _set_aside() -> None:
    """What is there before a build, modules most of all, is no part of what the collector walks through after it: that was a
    fortieth of a build of 10,000 rows."""
    built = next(_builds)
    if not built:
        import l07.backends.parquet
        import l07.pipeline.curate.build  # noqa: F401 - what it brings in is to be set aside
    elif built % AGAIN == 0:
        gc.unfreeze()
        gc.collect()
    gc.freeze()


def build_version(request: CurateRequest) -> Curated:
    """Read the version before, build, write. The same request gives the same files.

    Raises StoreFull (E7400), FolderNotWritable (E7402), SecretExposed (E7120) and SecretMissing (E7121) beside what
    ports.Curator says."""
    from l07.backends.parquet.thinning import beginning

    with ExitStack() as stack:
        begin = partial(beginning, erased=request.erased, beside=request.output)
        return _built(request, stack.enter_context(begin(request.parent)) if request.parent else None)


def _built(request: CurateRequest, start: "Beginning | None") -> Curated:
    from l07.backends.parquet import Bodies, write_version
    from l07.domain.dataset import Refusal
    from l07.pipeline.curate.build import build

    golden, digest = read_golden(request.golden)
    draft = build(
        request.batches,
        request.rules,
        parent=start.parent if start else None,
        golden=golden,
        hashed=_hashed(request.marks),
        erased=start.erased if start else None,
        hold=Bodies(),
    )
    if isinstance(draft, Refusal):
        return Curated("", asdict(draft))
    ids = [batch.seal.batch_id for batch in request.batches]
    with disk_errors(request.output):
        manifest = write_version(
            draft,
            request.output,
            parent=start.folder if start else None,
            track=request.track,
            rules=request.rules,
            batches=ids,
            golden=digest,
        )
    return Curated(str(draft.number), manifest)


def _hashed(path: Path | None) -> Callable[[str], str]:
    @cache
    def marks() -> Marks:
        assert path is not None
        return open_marks(path)

    return (lambda name: marks().of(SUBJECT, name)) if path else (lambda name: "")


def erased_in(asked: tuple[Path, Tombstones]) -> Sequence[str]:
    """Natural keys of those in a version for whom a tombstone stands."""
    from l07.backends.parquet.thinning import erased_keys

    return erased_keys(*asked)


def read_summary(folder: Path) -> Mapping[str, Any]:
    """The checked manifest of a version."""
    from l07.backends.parquet import verify

    return verify(folder)


def read_golden(path: Path | None) -> "tuple[Sequence[Golden], str | None]":
    """The golden rows and the sha256 of their file; nothing without a path.

    Raises GoldenUnreadable (E7105) with the line."""
    from l07.pipeline.curate.build import Golden
    from l07.pipeline.curate.twins import Body

    if path is None:
        return (), None
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise GoldenUnreadable(f"the golden set {path} cannot be read: {err}", path=str(path)) from err
    rows = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            row = json.loads(line)
            goal = next((str(m["content"]) for m in row["messages"] if m["role"] == "user"), "")
            rows.append(Golden(row["key"], f"{row['domain']}/{row['group']}", Body(goal, row["messages"])))
        except (ValueError, KeyError, TypeError) as err:
            raise GoldenUnreadable(
                f"{path}, line {number}: {type(err).__name__}: {err}", path=str(path), line=number
            ) from err
    return rows, "sha256:" + hashlib.sha256(raw).hexdigest()
