"""`l07 train`: a job into the queue by hand, and where nobody else has the data folder, the queue worked until it is over."""

import asyncio
from contextlib import AsyncExitStack

from l07.backends import open as backends
from l07.domain.job_ledger import JobLine, fold
from l07.errors import FolderInUse
from l07.pipeline import train
from l07.runner import pause
from l07.service.controlling import joined
from l07.service.health import Health
from l07.service.ingesting import Report, now_text, stopping
from l07.service.working import LOOK_S
from l07.settings import Settings

PURPOSE = "l07 train --wait"


async def ask(settings: Settings, asked: train.Asked) -> train.Answer:
    """See `pipeline.train.ask`."""
    datasets, jobs, registry = (backends.open_ledger(settings, name) for name in ("datasets", "jobs", "registry"))
    return await train.ask(
        asked, jobs=jobs, datasets=datasets, registry=registry, bases=backends.open_bases(settings), settings=settings,
        at=now_text(),
    )  # fmt: skip


async def standing(settings: Settings, key: str) -> JobLine:
    """The job as the ledger has it now."""
    return fold(await backends.open_ledger(settings, "jobs").entries())[key]


def is_deployed(settings: Settings) -> bool:
    """Whether trainers are processes of their own: this one leaves the work to them."""
    return bool(settings.buffer.url) or backends.is_server(settings.bus.url)


async def work_until_over(settings: Settings, key: str, report: Report) -> bool:
    """Work the queue of a data folder that nobody works on, until this job is over. False: somebody has the folder, or the
    trainers are elsewhere, and the job is theirs.

    SIGINT and SIGTERM send the job that runs back into the queue. Raises what working the queue raises."""
    if is_deployed(settings):
        return False
    async with AsyncExitStack() as stack:
        try:
            stack.enter_context(backends.held_folder(settings, purpose=PURPOSE))
        except FolderInUse:
            return False
        stop = asyncio.Event()
        bus = await stack.enter_async_context(backends.open_bus(settings))
        control = await stack.enter_async_context(
            joined(settings, ["train"], bus=bus, buffer=None, report=report, health=Health("train"), stop=stop)
        )
        await stack.enter_async_context(stopping(stop))
        while not stop.is_set() and not (await standing(settings, key)).is_settled:
            done = await control.work()
            await control.announce()
            if not done:  # whoever had the track before us is still to be seen silent
                await pause(stop, LOOK_S)
        return True
