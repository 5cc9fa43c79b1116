"""What librdkafka hands over, and what becomes of it: positions over holes, records and batches that it does not read."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import confluent_kafka as lib
import cramjam
import pytest
from confluent_kafka.admin import AdminClient

from l07.backends.kafka import open_kafka
from l07.errors import BusUnavailable, HeaderUnfit, MessageTooLarge
from l07.events.record import Message, TopicPartition
from tests.servers.confluent_kit import (
    ZSTD,
    a_bus,
    flip,
    from_the,
    produce,
    raw_batch,
    raw_record,
    reached,
    records_of,
    segment,
    send_raw,
    set_codec,
    settings_of,
    until,
)
from tests.servers.kafka_server import Broker, HomeBroker
from tests.servers.kafka_topics import delete_topics, make_topics

PLAIN = raw_batch([(b"k", b"good", [])] * 3)

# ------------------------------------------------------------------ positions


async def test_slices_cover_markers_and_aborted_records(kafka: Broker, unique: str) -> None:
    topic = f"tx.{unique}"
    await make_topics(kafka.address, {topic: 1})
    for number, (values, commit) in enumerate(
        [((b"0",), True), ((b"a", b"b"), False), ((b"5",), True), ((b"x",), False)]
    ):
        await asyncio.to_thread(produce, kafka.address, topic, *values, transaction=f"{topic}{number}", commit=commit)
    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        slices = await until(sub, reached(9))
        assert [(record.offset, record.value) for record in records_of(slices)] == [(0, b"0"), (5, b"5")]
        assert (slices[0].start, slices[-1].next) == (0, 9)
        tp = TopicPartition(topic, 0)
        assert await sub.end_offsets() == {tp: 9} == sub.position()
        await sub.seek(tp, 6)  # nothing but a marker and an aborted record from here on
        behind = await until(sub, reached(9))
        assert (behind[0].start, behind[-1].next, records_of(behind)) == (6, 9, [])


async def test_an_open_transaction_is_not_seen_and_holds_the_position(kafka: Broker, unique: str) -> None:
    topic = f"open.{unique}"
    await make_topics(kafka.address, {topic: 1})
    produce(kafka.address, topic, b"before")
    producer = lib.Producer({"bootstrap.servers": kafka.address, "transactional.id": topic})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    producer.produce(topic, b"inside")
    producer.flush()
    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        assert [record.value for record in records_of(await until(sub, reached(1)))] == [b"before"]
        assert await until(sub, reached(2), within_s=1.5) == []
        await asyncio.to_thread(producer.commit_transaction, 30)
        assert [record.value for record in records_of(await until(sub, reached(2)))] == [b"inside"]


async def test_start_is_asked_again_when_the_log_under_the_position_is_gone(kafka: Broker, unique: str) -> None:
    topic = f"gone.{unique}"
    tp = TopicPartition(topic, 0)
    await make_topics(kafka.address, {topic: 1})
    produce(kafka.address, topic, *[b"%d" % n for n in range(10)])
    asked: list[int] = []

    async def start(assigned: object) -> dict[TopicPartition, int]:
        asked.append(50 if not asked else (await bus.begin_offsets([topic]))[tp])
        return {tp: asked[-1]}

    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=start) as sub:
        assert len(records_of(await until(sub, reached(10)))) == 10  # 50 is beyond the end
        assert asked == [50, 0]
        admin = AdminClient({"bootstrap.servers": kafka.address})
        for done in admin.delete_records([lib.TopicPartition(topic, 0, 7)]).values():
            await asyncio.to_thread(done.result)
        await sub.seek(tp, 2)  # below the beginning
        assert [record.offset for record in records_of(await until(sub, reached(10)))] == [7, 8, 9]
        assert asked == [50, 0, 7]


async def test_a_partition_that_start_leaves_out_waits_for_a_seek(kafka: Broker, unique: str) -> None:
    topic = f"left.{unique}"
    await make_topics(kafka.address, {topic: 2})
    for partition in range(2):
        produce(kafka.address, topic, b"0", b"1", b"2", partition=partition)

    async def start(assigned: object) -> dict[TopicPartition, int]:
        return {TopicPartition(topic, 0): 1}

    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=start) as sub:
        found = records_of(await until(sub, reached(3)))
        assert [(record.partition, record.offset) for record in found] == [(0, 1), (0, 2)]
        assert await until(sub, bool, within_s=1) == []
        assert sub.position() == {TopicPartition(topic, 0): 3}
        await sub.seek(TopicPartition(topic, 1), 2)
        assert [(r.partition, r.offset) for r in records_of(await until(sub, reached(3)))] == [(1, 2)]
        await sub.seek(TopicPartition(topic, 9), 0)  # not ours: nothing


async def test_what_start_raises_comes_out_of_poll_and_start_is_asked_again(kafka: Broker, unique: str) -> None:
    topic = f"raises.{unique}"
    await make_topics(kafka.address, {topic: 1})
    produce(kafka.address, topic, b"v")
    calls: list[object] = []

    async def start(assigned: object) -> dict[TopicPartition, int]:
        calls.append(assigned)
        if len(calls) == 1:
            raise BusUnavailable("not now")
        return {TopicPartition(topic, 0): 0}

    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=start) as sub:
        with pytest.raises(BusUnavailable, match="not now"):
            await until(sub, reached(1))
        assert len(records_of(await until(sub, reached(1)))) == 1
        assert len(calls) == 2


async def test_a_compacted_topic_is_read_in_contiguous_slices(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    settings = {"log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0.01"}
    broker = home_broker(extra=settings)
    topic = f"compacted.{unique}"
    config = {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"}
    await make_topics(broker.address, {topic: 1}, config)
    producer = lib.Producer({"bootstrap.servers": broker.address})
    for number in range(3000):
        producer.produce(topic, b"x" * 1000, key=b"%d" % (number % 10), partition=0)
        if number % 100 == 99:
            producer.flush()
    tp = TopicPartition(topic, 0)
    async with a_bus(broker.address) as bus:
        deadline = time.monotonic() + 60
        while len(await bus.read(tp, 0, limit=3000)) > 2900:
            assert time.monotonic() < deadline, "the broker did not compact"
        async with bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
            slices = await until(sub, reached(3000))
            assert (slices[0].start, slices[-1].next) == (0, 3000)
            assert 10 <= len(records_of(slices)) < 3000
            assert records_of(slices)[-1].offset == 2999
            await sub.seek(tp, 5)  # a position that holds no record any more
            assert (await until(sub, bool))[0].start == 5


async def test_a_topic_made_again_is_no_stall(kafka: Broker, unique: str) -> None:
    topic = f"again.{unique}"
    tp = TopicPartition(topic, 0)
    await make_topics(kafka.address, {topic: 1})
    produce(kafka.address, topic, *[b"old"] * 5)
    starts: list[int] = []

    async def start(assigned: object) -> dict[TopicPartition, int]:
        starts.append(1)
        return {tp: 0}

    async with (
        a_bus(kafka.address, metadata_age_s=1) as bus,
        bus.subscribe([topic], group=topic, start=start) as sub,
    ):
        assert len(records_of(await until(sub, reached(5)))) == 5
        await delete_topics(kafka.address, topic)
        await until(sub, bool, within_s=3)
        await make_topics(kafka.address, {topic: 1})
        produce(kafka.address, topic, b"new")
        found: list[bytes | None] = []
        deadline = time.monotonic() + 60
        while b"new" not in found and time.monotonic() < deadline:
            found += [record.value for record in records_of(await sub.poll(limit=10, timeout_s=0.5))]
        assert found == [b"new"]
        assert len(starts) == 2  # whoever has the offset sees that it is another log


# ------------------------------------------------------------------ what librdkafka does not read


async def test_header_names_that_are_not_utf8_come_as_they_are(kafka: Broker, unique: str) -> None:
    topic = f"names.{unique}"
    await make_topics(kafka.address, {topic: 1})
    bad = [(b"\xff\xfe", b"1"), (b"ok", None)]
    send_raw(kafka.address, topic, raw_batch([(b"k", b"0", []), (b"k", b"1", bad), (None, None, [])]))
    for _ in range(40):  # so many that Python makes its loop fast, which ends the process where nobody takes care
        send_raw(kafka.address, topic, raw_batch([(b"k", b"x", [(b"n", b"v")])] * 30 + [(b"k", b"y", bad)]))
    async with a_bus(kafka.address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        found = records_of(await until(sub, reached(3 + 31 * 40)))
    assert [record.offset for record in found] == list(range(3 + 31 * 40))
    assert found[1].headers == tuple(bad)
    assert (found[2].key, found[2].value, found[2].headers) == (None, None, ())
    assert [record.headers for record in found if record.value == b"y"] == [tuple(bad)] * 40
    assert not any(record.damage for record in found)


async def test_a_batch_with_a_wrong_checksum_is_one_damaged_record(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    broker = home_broker()
    for place in ("between", "last"):
        topic = f"crc.{place}.{unique}"
        await make_topics(broker.address, {topic: 1})
        send_raw(broker.address, topic, PLAIN)
        send_raw(broker.address, topic, raw_batch([(b"k", b"FLIPPED", [])] * 4))
        if place == "between":
            send_raw(broker.address, topic, PLAIN)
        flip(segment(broker.data, topic), b"FLIPPED")
        end = 10 if place == "between" else 7
        async with a_bus(broker.address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
            slices = await until(sub, reached(end))
            assert slices[-1].next == end
            found = records_of(slices)
            assert [record.damage[:5] for record in found if record.damage] == ["form:"]
            assert [record.offset for record in found if not record.damage] == [0, 1, 2, *range(7, end)]


async def test_an_unknown_codec_is_one_damaged_record(home_broker: Callable[..., HomeBroker], unique: str) -> None:
    broker = home_broker()
    topic = f"codec.{unique}"
    await make_topics(broker.address, {topic: 1})
    for batch in (PLAIN, raw_batch([(b"k", b"STRANGE", [])] * 4), PLAIN):
        send_raw(broker.address, topic, batch)
    set_codec(segment(broker.data, topic), b"STRANGE", 7)
    async with a_bus(broker.address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        found = records_of(await until(sub, reached(10)))
        assert [record.damage[:6] for record in found if record.damage] == ["codec:"]
        assert [record.offset for record in found if not record.damage] == [0, 1, 2, 7, 8, 9]


BOMBED = """
import asyncio, json, sys
from pathlib import Path
from tests.servers.confluent_kit import a_bus, from_the, reached, records_of, until

async def main(address, topic):
    async with a_bus(address) as bus, bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
        slices = await until(sub, reached(7), within_s=60)
        found = [(record.offset, record.damage.partition(":")[0]) for record in records_of(slices)]
    status = Path("/proc/self/status").read_text()
    print(json.dumps({"found": found, "peak_kb": int(status.partition("VmHWM:")[2].split()[0])}))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_zstd_bomb_is_one_damaged_record_and_costs_no_memory(kafka: Broker, unique: str) -> None:
    topic = f"bomb.{unique}"
    await make_topics(kafka.address, {topic: 1})
    packed = bytes(cramjam.zstd.compress(raw_record(0, (b"k", bytes(1 << 30), [])), 1))
    assert len(packed) < 100_000
    for batch in (PLAIN, raw_batch(codec=ZSTD, payload=packed, count=1), PLAIN):
        send_raw(kafka.address, topic, batch)
    command = [sys.executable, "-c", BOMBED, kafka.address, topic]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=100, check=True)
    said = json.loads(done.stdout)
    assert said["found"] == [[0, ""], [1, ""], [2, ""], [3, "large"], [4, ""], [5, ""], [6, ""]]
    assert said["peak_kb"] < 400_000


# ------------------------------------------------------------------ publishing


async def test_a_header_name_that_cannot_be_sent_is_refused_and_the_process_lives(kafka: Broker, unique: str) -> None:
    topic = f"refused.{unique}"
    await make_topics(kafka.address, {topic: 1})
    async with a_bus(kafka.address) as bus:
        for name in (b"\xff", b"a\x00b"):
            with pytest.raises(HeaderUnfit):
                await bus.publish([Message(topic, b"k", b"v"), Message(topic, b"k", b"v", ((name, b"v"),))])
        assert await bus.end_offsets([topic]) == {TopicPartition(topic, 0): 0}  # nothing of the batch


async def test_what_is_too_large_for_a_topic_says_so_and_the_next_goes_out(kafka: Broker, unique: str) -> None:
    topic = f"large.{unique}"
    await make_topics(kafka.address, {topic: 1}, {"max.message.bytes": "20000"})
    async with a_bus(kafka.address) as bus:
        with pytest.raises(MessageTooLarge, match=r"30001 bytes .* max.message.bytes"):
            await bus.publish([Message(topic, b"k", b"x" * 30_000)])
        await bus.publish([Message(topic, b"k", b"small")])
        assert [record.value for record in await bus.read(TopicPartition(topic, 0), 0, limit=9)] == [b"small"]


async def test_both_clients_put_a_key_into_the_same_partition(kafka: Broker, unique: str) -> None:
    keys = [b"", b"a", b"execution:1", *(b"%d" % n for n in range(50))]
    places: list[dict[bytes | None, int]] = []
    for client in ("aiokafka", "confluent"):
        topic = f"{client}.{unique}"
        await make_topics(kafka.address, {topic: 7})
        async with open_kafka(settings_of(kafka.address, client=client), check=False) as bus:
            await bus.publish([Message(topic, key, b"v") for key in keys])
            tps = await bus.end_offsets([topic])
            found = [record for tp in tps for record in await bus.read(tp, 0, limit=100)]
        places.append({record.key: record.partition for record in found})
    assert len(places[0]) == len(keys)
    assert places[0] == places[1]


async def test_a_broker_that_is_away_is_unavailable_and_the_same_bus_goes_on_afterwards(
    home_broker: Callable[..., HomeBroker], unique: str
) -> None:
    broker = home_broker()
    topic = f"away.{unique}"
    await make_topics(broker.address, {topic: 1})
    async with (
        a_bus(broker.address, request_timeout_s=2) as bus,
        bus.subscribe([topic], group=topic, start=from_the(0)) as sub,
    ):
        await bus.publish([Message(topic, b"k", b"1")])
        assert len(records_of(await until(sub, reached(1)))) == 1
        broker.hurt(signal.SIGSTOP)
        with pytest.raises(BusUnavailable):
            await bus.publish([Message(topic, b"k", b"2")])
        assert await until(sub, bool, within_s=1) == []
        broker.hurt(signal.SIGCONT)
        await bus.publish([Message(topic, b"k", b"3")])
        slices = await until(sub, lambda got: b"3" in [record.value for record in records_of(got)])
        values = [record.value for record in records_of(slices)]
        assert values[-1] == b"3"
        assert set(values) <= {b"2", b"3"}  # a message that was not acknowledged may be there
