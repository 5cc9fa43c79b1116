"""The topics that we read and write, checked at start: what is missing is made when asked, what would lose or stop
something is said before the first record is read."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import NewTopic

from l07.backends.kafka.admin import Admin, Topic
from l07.backends.kafka.config import Brokers
from l07.backends.kafka.fates import fate_of_number
from l07.errors import BusForbidden, BusUnavailable, TopicMissing, TopicUnfit
from l07.settings import Settings

log = logging.getLogger("l07.kafka")

UNKNOWN_TOPIC, FORBIDDEN, EXISTS = 3, 29, 36  # the brokers' numbers
READY_S = 15.0  # a topic that was made has its leaders after this long, or the brokers are in trouble
KEY_BYTES = 64  # `"execution:<a UUID>",` in batch.sealed, rounded up
EVENT_BYTES = 65_536  # any other event of ours, and what stands around the keys
LETTER_BYTES = 300_000  # a dead letter: at most 64 KiB each of value, key and headers, in base64, and the envelope
MADE_BYTES = 16_777_216  # max.message.bytes of an output that we make: a batch of 250,000 runs


@dataclass(frozen=True, slots=True)
class Need:
    """What we need of one topic. `max_bytes`: its records may be that large; 0: others write it."""

    topic: str
    setting: str
    max_bytes: int = 0


def needs(settings: Settings) -> Sequence[Need]:
    """Every topic of the settings; one that two settings name counts once, with the larger need."""
    topics = settings.topics
    sealed = max((track.seal.count for track in settings.tracks.values()), default=0) * KEY_BYTES + EVENT_BYTES
    sizes = {"events": sealed, "dlq": LETTER_BYTES}
    found: dict[str, Need] = {}
    for setting in (name for name in type(topics).model_fields if getattr(topics, name)):
        need = Need(getattr(topics, setting), f"topics.{setting}", sizes.get(setting, 0))
        if need.topic not in found or found[need.topic].max_bytes < need.max_bytes:
            found[need.topic] = need
    return list(found.values())


async def check_topics(admin: Admin, brokers: Brokers, settings: Settings) -> None:
    """Raises: TopicMissing E7412, TopicUnfit E7413, BusForbidden E7411, BusUnavailable E7401."""
    wanted = needs(settings)
    found = await admin.topics([need.topic for need in wanted])
    missing = [need for need in wanted if found[need.topic].error == UNKNOWN_TOPIC]
    if missing and not settings.bus.kafka.create_topics:
        raise TopicMissing(_what_to_run(missing, brokers, settings), topics=[need.topic for need in missing])
    if missing:
        await _make(admin, missing, settings)
        found = await _ready(admin, wanted)
    _check_errors(found)
    configs = await admin.configs(list(found))
    unseen = sorted(found.keys() - configs.keys())
    if unseen:  # the right to see them is one that a careful operator may not give
        log.warning("topic_settings_unseen", extra={"topics": unseen})
    faults = [fault for need in wanted for fault in _faults(need, found[need.topic], configs.get(need.topic), settings)]
    if faults:
        raise TopicUnfit("; ".join(faults), topics=sorted({need.topic for need in wanted}))


def _check_errors(found: Mapping[str, Topic]) -> None:
    forbidden = sorted(name for name, topic in found.items() if topic.error == FORBIDDEN)
    if forbidden:
        text = f"Kafka lets this user not see {', '.join(forbidden)}: it needs Describe, and Read or Write, on them"
        raise BusForbidden(text, topics=forbidden)
    for name, topic in found.items():
        if topic.error and topic.partitions == 0:
            raise fate_of_number(topic.error, f"error {topic.error}", doing=f"looking at the topic {name}")


def _faults(need: Need, topic: Topic, config: Mapping[str, str] | None, settings: Settings) -> Iterator[str]:
    where = f"{need.topic} ({need.setting})"
    kafka, config = settings.bus.kafka, config or {}
    policy = config.get("cleanup.policy", "delete")
    if policy != "delete":
        yield f"{where} has cleanup.policy={policy}, which drops records that share a key: it must be delete"
    if kafka.create_topics and topic.partitions != settings.bus.partitions:
        yield (
            f"{where} has {topic.partitions} partitions, bus.partitions is {settings.bus.partitions}: "
            "set that, or leave bus.kafka.create_topics off"
        )
    if need.max_bytes > int(config.get("max.message.bytes", need.max_bytes)):
        yield (
            f"{where} takes records of {config['max.message.bytes']} bytes, ours may have {need.max_bytes}: "
            f"kafka-configs.sh --alter --topic {need.topic} --add-config max.message.bytes={MADE_BYTES}"
        )
    insync = int(config.get("min.insync.replicas", 1))
    if need.max_bytes and topic.replicas < insync:
        yield f"{where} has {topic.replicas} replicas and min.insync.replicas={insync}: nothing can be written to it"


def _made(need: Need, settings: Settings) -> NewTopic:
    kafka = settings.bus.kafka
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(kafka.retention_s * 1000 if kafka.retention_s >= 0 else -1),
        "min.insync.replicas": str(kafka.min_insync_replicas),
        # compression.type stays `producer`: events shrink nine times, and what unpacks too far is a dead letter of ours
    }
    if need.max_bytes:
        config["max.message.bytes"] = str(MADE_BYTES)
    return NewTopic(need.topic, settings.bus.partitions, kafka.replication, topic_configs=config)


async def _make(admin: Admin, missing: Sequence[Need], settings: Settings) -> None:
    for name, error, text in await admin.create([_made(need, settings) for need in missing]):
        if error not in (0, EXISTS):  # another process of ours may have been faster
            raise fate_of_number(error, text or f"error {error}", doing=f"making the topic {name}")
    log.info("topics_made", extra={"topics": [need.topic for need in missing]})


async def _ready(admin: Admin, wanted: Sequence[Need]) -> Mapping[str, Topic]:
    deadline = asyncio.get_running_loop().time() + READY_S
    while True:
        found = await admin.topics([need.topic for need in wanted])
        if all(topic.error != UNKNOWN_TOPIC and (topic.led or topic.error) for topic in found.values()):
            return found
        if asyncio.get_running_loop().time() > deadline:
            late = sorted(name for name, topic in found.items() if not topic.led)
            raise BusUnavailable(f"topics that were made have no leader after {READY_S:.0f} s: {', '.join(late)}")
        await asyncio.sleep(0.1)


def _what_to_run(missing: Sequence[Need], brokers: Brokers, settings: Settings) -> str:
    head = f"kafka-topics.sh --bootstrap-server {brokers.addresses[0]} --create"
    commands = []
    for need in missing:
        new = _made(need, settings)
        configs = " ".join(f"--config {name}={value}" for name, value in new.topic_configs.items())
        size = f"--partitions {new.num_partitions} --replication-factor {new.replication_factor}"
        commands.append(f"  {head} --topic {need.topic} {size} {configs}")
    names = ", ".join(f"{need.topic} ({need.setting})" for need in missing)
    return f"missing topics: {names}. Set bus.kafka.create_topics, or run:\n" + "\n".join(commands)
