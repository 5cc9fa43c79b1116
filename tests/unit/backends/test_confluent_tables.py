"""The second Kafka client without a broker: every error has a fate, every setting has its place in librdkafka."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka as lib
import pytest

from l07.backends.kafka.config import brokers
from l07.backends.kafka.confluent_config import client_options, consumer_options, member_options, producer_options
from l07.backends.kafka.confluent_fates import BROKERS, FATES, LOCAL, fate_of, fate_of_error
from l07.backends.kafka.confluent_member import Member
from l07.backends.kafka.confluent_producer import headers_of
from l07.backends.kafka.confluent_records import cut
from l07.backends.kafka.fates import BY_NUMBER
from l07.errors import BadSetting, BusBroken, BusForbidden, BusLoginRefused, BusUnavailable, HeaderUnfit
from l07.events.record import Message, TopicPartition
from l07.settings import Settings

NAMES = [name for name in dir(lib.KafkaError) if isinstance(getattr(lib.KafkaError, name), int)]


def options_of(make: Any, *more: object, **kafka: object) -> Mapping[str, Any]:
    settings = Settings.model_validate({"bus": {"url": "kafka://a:1,b:2", "kafka": kafka}})
    found: Mapping[str, Any] = make(brokers(settings), *more)
    return found


# ------------------------------------------------------------------ fates


def test_every_error_of_the_library_has_a_fate() -> None:
    without = [name for name in NAMES if getattr(lib.KafkaError, name) not in FATES]
    assert without == []


def test_no_error_has_a_fate_twice() -> None:
    assert [name for name in BROKERS if getattr(lib.KafkaError, name, None) in BY_NUMBER] == []
    assert all(name.startswith("_") for name in LOCAL)


@pytest.mark.parametrize(
    ("name", "fate"),
    [
        ("_TRANSPORT", BusUnavailable),
        ("_MSG_TIMED_OUT", BusUnavailable),
        ("_FATAL", BusUnavailable),
        ("FENCED_INSTANCE_ID", BusUnavailable),
        ("_AUTHENTICATION", BusLoginRefused),
        ("TOPIC_AUTHORIZATION_FAILED", BusForbidden),
        ("_INVALID_ARG", BusBroken),
    ],
)
def test_an_error_comes_as_its_fate_and_keeps_its_text(name: str, fate: type[Exception]) -> None:
    error = lib.KafkaError(getattr(lib.KafkaError, name), "what the broker said")
    for told in (fate_of_error(error, doing="a test"), fate_of(lib.KafkaException(error), doing="a test")):
        assert type(told) is fate
        assert "what the broker said" in str(told)
        assert told.context["cause"] == name


def test_what_is_no_error_of_kafkas_is_unavailable() -> None:
    for err in (BufferError("Local: Queue full"), RuntimeError("Consumer closed")):
        assert type(fate_of(err)) is BusUnavailable


# ------------------------------------------------------------------ settings


def test_unsafe_defaults_are_turned_round() -> None:
    options = options_of(consumer_options)
    wanted = {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
    }
    assert {name: options[name] for name in wanted} == wanted
    out = options_of(producer_options)
    assert (out["enable.idempotence"], out["acks"], out["partitioner"]) == (True, "all", "murmur2_random")


@pytest.mark.parametrize(
    "make", [consumer_options, producer_options, lambda found: member_options(found, "l07.ingest")]
)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_library_takes_the_options(make: Any, protocol: str) -> None:
    options = dict(options_of(make, protocol=protocol, instance_id="a"))
    options.setdefault("group.id", "g")
    options["bootstrap.servers"] = ""  # nobody is asked
    logger = options.pop("logger")
    if "partitioner" in options:
        del options["group.id"]
        lib.Producer(options, logger=logger)
    else:
        lib.Consumer(options, logger=logger).close()


def test_memory_for_what_is_fetched_ahead_is_bounded() -> None:
    options = options_of(consumer_options, fetch_bytes=1_048_576, partition_fetch_bytes=4096, unpacked_bytes=2_097_152)
    assert options["fetch.max.bytes"] == 1_048_576
    assert options["max.partition.fetch.bytes"] == 4096
    assert options["queued.max.messages.kbytes"] == 2048
    assert options["receive.message.max.bytes"] == 2_097_152


def test_a_member_of_each_protocol() -> None:
    classic = options_of(member_options, "l07.ingest", group="other", session_timeout_s=9, instance_id="pod-1")
    assert classic["group.id"] == "other.ingest"
    assert classic["group.instance.id"] == "pod-1.ingest"
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert (classic["session.timeout.ms"], classic["heartbeat.interval.ms"]) == (9000, 1500)
    new = options_of(member_options, "l07.ingest", protocol="consumer")
    assert new["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & new.keys()


def test_a_login_by_password() -> None:
    options = options_of(
        client_options, security="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", username="u", password="p"
    )
    assert options["security.protocol"] == "SASL_PLAINTEXT"
    assert (options["sasl.mechanism"], options["sasl.username"], options["sasl.password"]) == (
        "SCRAM-SHA-512",
        "u",
        "p",
    )
    assert "oauth_cb" not in options
    assert "sasl.mechanism" not in options_of(client_options, username="u", password="p")


def test_a_login_by_token_reads_the_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    options = options_of(client_options, security="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", token_file=str(file))
    for text in ("one", "two"):
        file.write_text(text)
        token, until = options["oauth_cb"]("")
        assert token == text
        assert until > time.time()


def test_a_certificate_that_is_not_there_is_said_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"bus\.kafka\.ca_file"):
        options_of(client_options, security="SSL", ca_file=str(tmp_path / "none.pem"))


# ------------------------------------------------------------------ absent


def test_the_library_that_is_not_installed_is_named() -> None:
    program = """
import asyncio, sys
sys.modules["confluent_kafka"] = None
from l07.backends.kafka import open_kafka
from l07.errors import ClientMissing
from l07.settings import Settings

async def main():
    settings = Settings.model_validate({"bus": {"url": "kafka://a:1", "kafka": {"client": "confluent"}}})
    try:
        async with open_kafka(settings):
            pass
    except ClientMissing as err:
        print(err)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("E7416: ")
    assert "pip install l07[confluent]" in done.stdout


# ------------------------------------------------------------------ the thread, without a broker


def a_member() -> Member:
    options = dict(options_of(member_options, "l07.t")) | {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    return Member(options, ["t"], wait_s=0.1)


async def test_asking_a_thread_that_has_ended_is_an_error_and_no_wait() -> None:
    member = a_member()
    member.start()
    assert await asyncio.wait_for(member.ask(lambda: 7), 5) == 7
    await member.leave()
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(member.ask(lambda: 7), 5)


async def test_leaving_without_brokers_takes_a_bounded_time() -> None:
    member = a_member()
    member.start()
    began = time.monotonic()
    await member.leave()
    assert time.monotonic() - began < 12


async def test_an_error_in_the_thread_comes_out_where_it_was_asked_for() -> None:
    member = a_member()
    member.start()

    def fails() -> None:
        raise lib.KafkaException(lib.KafkaError(lib.KafkaError._STATE))

    with pytest.raises(lib.KafkaException):
        await asyncio.wait_for(member.ask(fails), 5)
    assert await asyncio.wait_for(member.ask(lambda: "goes on"), 5) == "goes on"
    await member.leave()


# ------------------------------------------------------------------ records


def a_record(offset: int, value: bytes | None = b"v", **more: Any) -> lib.Message:
    return lib.Message(topic="t", partition=0, offset=offset, value=value, timestamp=(1, 5), **more)


def test_records_beyond_the_room_are_kept_for_the_next_time() -> None:
    found = cut([a_record(n, b"x" * 40) for n in range(5)], 100)
    assert [record.offset for record in found.runs[0].records] == [0, 1, 2]
    assert [message.offset() for message in found.rest] == [3, 4]
    assert found.size == 120


def test_an_end_moves_the_position_behind_what_holds_no_records() -> None:
    end = lib.KafkaError(lib.KafkaError._PARTITION_EOF)
    [run] = cut([a_record(3), a_record(9, None, error=end)]).runs
    assert (run.next(0), run.next(20)) == (9, 20)


@pytest.mark.parametrize(("code", "stop"), [("_AUTO_OFFSET_RESET", "gone"), ("_BAD_MSG", "unreadable")])
def test_nothing_counts_behind_what_stops_a_partition(code: str, stop: str) -> None:
    error = lib.KafkaError(getattr(lib.KafkaError, code))
    [run] = cut([a_record(3), a_record(4, None, error=error), a_record(5)]).runs
    assert ([record.offset for record in run.records], run.stop) == ([3], stop)


def test_a_log_that_is_gone_elsewhere_than_at_our_position_is_asked_for_again() -> None:
    """Seen of librdkafka behind a batch with a wrong checksum: it went on at an offset of 13 digits, out of a record's bytes."""
    error = lib.KafkaError(lib.KafkaError._AUTO_OFFSET_RESET)
    tp = TopicPartition("t", 0)
    for offset, kinds in ((1_795_448_271_313, []), (7, ["gone"])):
        member = a_member()
        member._consumer = Recorded()
        member._assigned[tp] = 1
        member.place(tp, (1, 1), 7)
        found = member._cut([a_record(offset, None, error=error)], 100, {})
        assert found == (0, 0)
        assert [news.kind for news in member._news] == kinds
        assert member._consumer.at == [7] * (2 - len(kinds))  # fetched from our position once more, or not


class Recorded:
    """A consumer that remembers from where it was told to fetch."""

    def __init__(self) -> None:
        self.at: list[int] = []

    def incremental_assign(self, parts: Sequence[lib.TopicPartition]) -> None:
        self.at += [part.offset for part in parts]

    def incremental_unassign(self, parts: Sequence[lib.TopicPartition]) -> None:
        pass


def test_any_other_error_stops_nothing() -> None:
    error = lib.KafkaError(lib.KafkaError._ALL_BROKERS_DOWN)
    found = cut([a_record(3), a_record(4, None, error=error), a_record(5)])
    assert [record.offset for record in found.runs[0].records] == [3, 5]
    assert [error.name() for error in found.errors] == ["_ALL_BROKERS_DOWN"]


@pytest.mark.parametrize("name", [b"\xff", b"a\x00b"])
def test_a_header_name_that_no_client_sends_is_refused(name: bytes) -> None:
    with pytest.raises(HeaderUnfit):
        headers_of(Message("t", None, b"v", ((b"ok", None), (name, b"v"))))
    assert headers_of(Message("t", None, b"v", (("ključ".encode(), None),))) == [("ključ", None)]
