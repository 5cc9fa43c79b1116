"""Batches made by hand, sent as they are: what a client library would never make."""

import struct
from collections.abc import Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
AFTER_CRC = 21
NOT_YET = (3, 5, 6)  # a topic that was made a moment ago has no leader
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(
    value: bytes | None, *, key: bytes | None = b"k", headers: Sequence[tuple[bytes, bytes | None]] = (), delta: int = 0
) -> bytes:
    """One record of a batch, `delta` offsets after its first."""
    body = b"\0" + varint(0) + varint(delta) + sized(key) + sized(value) + varint(len(headers))
    body += b"".join(sized(name) + sized(text) for name, text in headers)
    return varint(len(body)) + body


def batch(payload: bytes, *, records: int, codec: int = NONE, base: int = 0, time_ms: int = 1_700_000_000_000) -> bytes:
    """`payload` as it lies in the batch, compressed or not; the checksum is right."""
    length = HEADER.size - 12 + len(payload)
    head = HEADER.pack(base, length, 0, 2, 0, codec, records - 1, time_ms, time_ms, -1, -1, -1, records)
    crc = calc_crc32c(head[AFTER_CRC:] + payload)
    return head[:17] + struct.pack(">I", crc) + head[AFTER_CRC:] + payload


async def send_batch(address: str, topic: str, data: bytes, *, partition: int = 0) -> int:
    """The broker's error number; 0: it took the batch."""
    client = AIOKafkaClient(bootstrap_servers=address)
    try:
        await client.bootstrap()
        await client.add_topic(topic)
        while not client.cluster.available_partitions_for_topic(topic):
            await client.force_metadata_update()
        leader = next(iter(client.cluster.brokers())).nodeId
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])])
        while True:
            answer = await client.send(leader, request)
            error = int(answer.topics[0][1][0][1])
            if error not in NOT_YET:
                return error
    finally:
        await client.close()
