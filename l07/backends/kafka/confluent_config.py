"""From the settings to confluent-kafka's options: the names of librdkafka, and its defaults turned round where they lose."""

import logging
import time
from collections.abc import Callable
from typing import Any

from l07.backends.kafka.config import CLIENT_ID, PREFETCH_S, Brokers, heartbeat_ms, milliseconds
from l07.backends.kafka.tokens import fetch_token
from l07.settings.servers import Kafka

Options = dict[str, Any]

log = logging.getLogger("l07.kafka.librdkafka")
READ_KB_A_MS = 200  # more than any ingest takes
LINGER_MS = 2  # a publish hands over its messages at once; this gathers them into one request
LARGEST_MESSAGE = 1_000_000_000  # librdkafka's own limit must not be below the topic's, which is the one that counts
FILE_TOKEN_S = 60.0  # a token out of a file says not how long it lives: look again
MAX_POLL_MS = 300_000  # our thread calls in far more often, whatever the handlers do


def client_options(brokers: Brokers) -> Options:
    """What every client object takes. Raises BadSetting (E7501) for a certificate that cannot be read."""
    kafka = brokers.kafka
    age_ms = milliseconds(kafka.metadata_age_s)
    return {
        "bootstrap.servers": ",".join(brokers.addresses),
        "client.id": CLIENT_ID,
        "socket.timeout.ms": milliseconds(kafka.request_timeout_s),
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1000,  # 10 s would be added to every outage
        "topic.metadata.refresh.interval.ms": age_ms,
        "metadata.max.age.ms": 3 * age_ms,
        "security.protocol": kafka.security,
        "logger": log,
        **_tls(brokers),
        **_sasl(brokers),
    }


def consumer_options(brokers: Brokers) -> Options:
    """For reading, with or without a group: nothing is committed behind our back, a position outside of the log is an
    error, open transactions are not seen, checksums are looked at, and what is fetched ahead is bounded."""
    kafka = brokers.kafka
    queued_kb = max(1, 2 * kafka.fetch_bytes // 1024)
    return client_options(brokers) | {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,  # the only word about a position behind markers and aborted records
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": milliseconds(PREFETCH_S),
        "fetch.max.bytes": kafka.fetch_bytes,
        "max.partition.fetch.bytes": kafka.partition_fetch_bytes,
        # also what a zstd batch may unpack to; nothing bounds gzip, a thousand times the topic's max.message.bytes
        "receive.message.max.bytes": max(kafka.unpacked_bytes, kafka.fetch_bytes + 4096),
        "queued.max.messages.kbytes": queued_kb,
        # a full queue is looked at again after this: not before half of it may be read, for every look wakes a thread,
        # and not after it is empty; the default of 1 s starves us
        "fetch.queue.backoff.ms": min(100, max(5, queued_kb // (2 * READ_KB_A_MS))),
    }


def member_options(brokers: Brokers, group: str) -> Options:
    """A member of `group` (a caller's name of it)."""
    kafka = brokers.kafka
    options = consumer_options(brokers) | {"group.id": brokers.group(group), "max.poll.interval.ms": MAX_POLL_MS}
    if (instance := brokers.instance(group)) is not None:
        options["group.instance.id"] = instance
    if kafka.protocol == "consumer":
        return options | {"group.protocol": "consumer"}
    session_ms = milliseconds(kafka.session_timeout_s)
    return options | {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": heartbeat_ms(session_ms),
        "max.poll.interval.ms": max(MAX_POLL_MS, session_ms),
    }


def producer_options(brokers: Brokers) -> Options:
    return client_options(brokers) | {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": LINGER_MS,
        "partitioner": "murmur2_random",  # as Java and aiokafka: one key, one partition, whichever client wrote it
        "message.max.bytes": LARGEST_MESSAGE,
        "message.timeout.ms": milliseconds(brokers.kafka.request_timeout_s),
    }


def _tls(brokers: Brokers) -> Options:
    brokers.tls()  # says what is wrong with a file, in our words
    kafka = brokers.kafka
    if not brokers.uses_tls:
        return {}
    options = {
        "ssl.ca.location": kafka.ca_file,
        "ssl.certificate.location": kafka.cert_file,
        "ssl.key.location": kafka.cert_file and (kafka.key_file or kafka.cert_file),
        "ssl.key.password": kafka.key_password.get_secret_value(),
    }
    return {name: value for name, value in options.items() if value}


def _sasl(brokers: Brokers) -> Options:
    kafka = brokers.kafka
    if not brokers.uses_sasl:
        return {}
    options: Options = {"sasl.mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return options | {"oauth_cb": _token_of(kafka)}
    return options | {"sasl.username": kafka.username, "sasl.password": kafka.password.get_secret_value()}


def _token_of(kafka: Kafka) -> Callable[[str], tuple[str, float]]:
    def token(_: str) -> tuple[str, float]:
        found = fetch_token(kafka)  # what it raises, librdkafka logs, and asks again after 10 s
        return found.text, max(found.until, time.time() + FILE_TOKEN_S)

    return token
