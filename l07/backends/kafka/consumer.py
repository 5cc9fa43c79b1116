"""What every consumer of aiokafka's has in common, in a group or not: its options, a wait, its end."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer

from l07.backends.kafka.config import Brokers
from l07.backends.kafka.fates import CAUGHT

log = logging.getLogger("l07.kafka")

CLOSE_S = 10.0


def reading_options(brokers: Brokers) -> Mapping[str, Any]:
    """What every consumer has where the library's own default would lose something, or has no bound."""
    kafka = brokers.kafka
    return {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "check_crcs": True,
        "fetch_max_bytes": kafka.fetch_bytes,
        "max_partition_fetch_bytes": kafka.partition_fetch_bytes,
    }


async def woken(consumer: AIOKafkaConsumer, timeout_s: float) -> None:
    """Until a fetch brought something, the group has trouble, or the time is up."""
    waiter = consumer._fetcher._create_fetch_waiter()
    done, _ = await asyncio.wait([waiter], timeout=min(timeout_s, 0.2))  # a rebalance wakes nobody
    if not done:
        waiter.cancel()
    else:
        waiter.exception()  # of the group: the next look raises it


async def close(consumer: AIOKafkaConsumer) -> None:
    """Stop it, within CLOSE_S; where one of its tasks has failed, the rest of it too."""
    try:
        await asyncio.wait_for(consumer.stop(), CLOSE_S)
    except CAUGHT as err:
        log.warning("consumer_not_closed_in_order", extra={"why": str(err)})
        coordinator, fetcher = consumer._coordinator, consumer._fetcher
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
        tasks = [task for name in names if (task := getattr(coordinator, name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if fetcher is not None:
            with contextlib.suppress(*CAUGHT):  # what its task has failed with was told when it was found
                await fetcher.close()
        await consumer._client.close()
