"""Kafka as the bus. `aio.py` is the backend on aiokafka, `confluent.py` the one on confluent-kafka; the rest they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from l07.errors import ClientMissing
from l07.ports import Bus
from l07.settings import Settings


@asynccontextmanager
async def open_kafka(settings: Settings, *, check: bool = True) -> AsyncIterator[Bus]:
    """The bus of `bus.kafka.client`. Raises ClientMissing (E7416) where that library is not installed."""
    if settings.bus.kafka.client == "confluent":
        try:
            from l07.backends.kafka.confluent import ConfluentBus
        except ModuleNotFoundError as err:
            if (err.name or "").partition(".")[0] != "confluent_kafka":
                raise
            text = "bus.kafka.client = confluent: pip install l07[confluent], or leave it at aiokafka"
            raise ClientMissing(text) from err
        async with ConfluentBus.open(settings, check=check) as confluent:
            yield confluent
        return
    from l07.backends.kafka.aio import KafkaBus

    async with KafkaBus.open(settings, check=check) as bus:
        yield bus
