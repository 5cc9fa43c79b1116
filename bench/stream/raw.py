"""The bare clients: consume, touch each value, and nothing else.  python -m bench.stream.raw CLIENT ADDRESS GROUP TOTAL TOPIC..."""

import asyncio
import sys
from collections.abc import Sequence

from bench.stream.meter import Meter

RECORDS = 1000  # of one confluent call
MOST = 5000  # of one aiokafka call
FETCH_WAIT_MS = 100


async def aiokafka(address: str, group: str, topics: Sequence[str], meter: Meter) -> None:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )  # fmt: skip
    await consumer.start()  # in the group, with partitions
    meter.start()
    while True:
        found = await consumer.getmany(timeout_ms=1000, max_records=MOST)
        for records in found.values():
            for record in records:
                record.value  # noqa: B018  # a value that nobody looks at might not be made
        if found:
            meter.add(sum(map(len, found.values())))


def confluent(address: str, group: str, topics: Sequence[str], meter: Meter) -> None:
    from confluent_kafka import Consumer

    options = {
        "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
    }  # fmt: skip
    consumer = Consumer(options)
    consumer.subscribe(list(topics), on_assign=lambda *_: meter.start())
    while True:
        found = consumer.consume(RECORDS, 1.0)
        for message in found:
            assert message.error() is None, message.error()
            message.value()
        if found:
            meter.add(len(found))


def main(client: str, address: str, group: str, total: str, *topics: str) -> None:
    meter = Meter(int(total))
    if client == "aiokafka":
        asyncio.run(aiokafka(address, group, topics, meter))
    else:
        confluent(address, group, topics, meter)


if __name__ == "__main__":
    main(*sys.argv[1:])
