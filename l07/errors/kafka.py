"""Kafka (E7410-E7439); what a record of it can suffer on the way to us is a dead letter."""

from l07.errors.fates import BadEvent, Fatal, Refused


class BusLoginRefused(Fatal):
    """The brokers and we do not trust each other: a wrong password, token or certificate, or no common mechanism."""

    code = "E7410"


class BusForbidden(Fatal):
    """This user may not use a topic or a consumer group."""

    code = "E7411"


class TopicMissing(Fatal):
    """A topic is not there, and `bus.kafka.create_topics` is off."""

    code = "E7412"


class TopicUnfit(Fatal):
    """A topic has a cleanup policy, a number of partitions or a size limit that would lose or stop something."""

    code = "E7413"


class MessageTooLarge(Fatal):
    """An event of ours is larger than its topic takes; it stays in the outbox until the topic takes it."""

    code = "E7414"


class BusBroken(Fatal):
    """Kafka or its client gave an error that no retry mends."""

    code = "E7415"


class ClientMissing(Refused):
    """The client library that `bus.kafka.client` names is not installed, or is a release that was not tried."""

    code = "E7416"


class NoMergedOrder(Refused):
    """Only the embedded bus can hand out its records in one order over all partitions."""

    code = "E7417"


class RecordDamaged(BadEvent):
    """A record, or the batch that it came in, does not have the form that Kafka gives it; a checksum may be wrong."""

    code = "E7420"


class CodecUnknown(BadEvent):
    """A batch is compressed with a codec that nobody knows."""

    code = "E7421"


class BatchTooLarge(BadEvent):
    """A compressed batch unpacks to more than `bus.kafka.unpacked_bytes`."""

    code = "E7422"


class HeaderUnfit(Refused):
    """A message to be sent has a header whose name is not UTF-8 or holds a zero byte: no client sends it as it is."""

    code = "E7431"
