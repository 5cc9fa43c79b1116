"""Write records whose header key is not UTF-8: `python -m tests.campaign.raw_header BOOTSTRAP TOPIC PARTITIONS`.

A process of its own: only aiokafka's builder in Python, which an environment variable chooses, lets a key choose its bytes."""

import asyncio
import os
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"

from aiokafka import AIOKafkaProducer


class RawKey(str):
    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def main(bootstrap: str, topic: str, partitions: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for partition in range(partitions):
            headers = [(RawKey("bad"), b"x"), ("content-type", b"application/json")]
            await producer.send_and_wait(topic, b"{}", partition=partition, headers=headers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
