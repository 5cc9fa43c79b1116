"""FastStream on aiokafka: batches as dicts, and nothing else.  PEER -m bench.stream.faststream_peer ADDRESS GROUP TOTAL TOPIC..."""

import asyncio
import sys
from typing import Any

from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from bench.stream.meter import Meter

RECORDS = 1000


async def main(address: str, group: str, total: str, *topics: str) -> None:
    meter = Meter(int(total))

    broker = KafkaBroker(address, logger=None)
    options: dict[str, Any] = {"group_id": group, "auto_offset_reset": "earliest", "ack_policy": AckPolicy.ACK_FIRST}

    @broker.subscriber(*topics, batch=True, max_records=RECORDS, **options)
    async def handle(found: list[dict]) -> None:  # type: ignore[type-arg]  # the framework reads the annotation
        assert isinstance(found[0], dict)
        meter.add(len(found))

    await broker.start()  # in the group, with partitions
    meter.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
