"""Every error of confluent-kafka that can reach us, and what happens next. A test fails when it grows a new one.

The brokers' own numbers mean the same in both clients (fates.py); here are the library's, which are negative, and the few
of the brokers that the other client does not know."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException

from l07.backends.kafka.fates import BY_NUMBER, Fate, tell
from l07.errors import BusBroken, BusLoginRefused, BusUnavailable, L07Error, TopicMissing

LOCAL: Mapping[str, Fate] = {  # by name: releases of the library differ in what they have
    # not reached, not ready, or somebody else's turn: the same again, after a while
    "_ALL_BROKERS_DOWN": BusUnavailable,
    "_APPLICATION": BusUnavailable,
    "_ASSIGNMENT_LOST": BusUnavailable,
    "_DESTROY": BusUnavailable,
    "_DESTROY_BROKER": BusUnavailable,
    "_FAIL": BusUnavailable,
    "_INTR": BusUnavailable,
    "_IN_PROGRESS": BusUnavailable,
    "_ISR_INSUFF": BusUnavailable,
    "_LOG_TRUNCATION": BusUnavailable,
    "_MAX_POLL_EXCEEDED": BusUnavailable,
    "_MSG_TIMED_OUT": BusUnavailable,
    "_NODE_UPDATE": BusUnavailable,
    "_NOENT": BusUnavailable,
    "_NOOP": BusUnavailable,
    "_OUTDATED": BusUnavailable,
    "_PARTIAL": BusUnavailable,
    "_PREV_IN_PROGRESS": BusUnavailable,
    "_PURGE_INFLIGHT": BusUnavailable,
    "_PURGE_QUEUE": BusUnavailable,
    "_QUEUE_FULL": BusUnavailable,
    "_RESOLVE": BusUnavailable,
    "_RETRY": BusUnavailable,
    "_STATE": BusUnavailable,
    "_TIMED_OUT": BusUnavailable,
    "_TIMED_OUT_QUEUE": BusUnavailable,
    "_TRANSPORT": BusUnavailable,
    "_UNKNOWN_BROKER": BusUnavailable,
    "_UNKNOWN_GROUP": BusUnavailable,
    "_WAIT_CACHE": BusUnavailable,
    "_WAIT_COORD": BusUnavailable,
    # of a subscription, which deals with them itself
    "_ASSIGN_PARTITIONS": BusUnavailable,
    "_REVOKE_PARTITIONS": BusUnavailable,
    "_AUTO_OFFSET_RESET": BusUnavailable,
    "_NO_OFFSET": BusUnavailable,
    "_PARTITION_EOF": BusUnavailable,
    "_BAD_COMPRESSION": BusUnavailable,
    "_BAD_MSG": BusUnavailable,
    "_UNDERFLOW": BusUnavailable,
    # of a client object that has come to its end: a new one is made
    "_FATAL": BusUnavailable,
    "_FENCED": BusUnavailable,
    "_GAPLESS_GUARANTEE": BusUnavailable,
    "_INCONSISTENT": BusUnavailable,
    # who we are
    "_AUTHENTICATION": BusLoginRefused,
    "_SSL": BusLoginRefused,
    # what does not fit
    "_UNKNOWN_TOPIC": TopicMissing,
    "_UNKNOWN_PARTITION": TopicMissing,
    # we, the settings or the machine are wrong; trying again changes nothing
    "_CONFLICT": BusBroken,
    "_CRIT_SYS_RESOURCE": BusBroken,
    "_EXISTING_SUBSCRIPTION": BusBroken,
    "_FS": BusBroken,
    "_INVALID_ARG": BusBroken,
    "_INVALID_DIFFERENT_RECORD": BusBroken,
    "_INVALID_TYPE": BusBroken,
    "_KEY_DESERIALIZATION": BusBroken,
    "_KEY_SERIALIZATION": BusBroken,
    "_NOT_CONFIGURED": BusBroken,
    "_NOT_IMPLEMENTED": BusBroken,
    "_READ_ONLY": BusBroken,
    "_UNKNOWN_PROTOCOL": BusBroken,
    "_UNSUPPORTED_FEATURE": BusBroken,
    "_VALUE_DESERIALIZATION": BusBroken,
    "_VALUE_SERIALIZATION": BusBroken,
}

BROKERS: Mapping[str, Fate] = {  # what fates.BY_NUMBER has no number for
    "ELIGIBLE_LEADERS_NOT_AVAILABLE": BusUnavailable,
    "FENCED_MEMBER_EPOCH": BusUnavailable,
    "GROUP_MAX_SIZE_REACHED": BusUnavailable,
    "INCONSISTENT_TOPIC_ID": BusUnavailable,
    "OFFSET_NOT_AVAILABLE": BusUnavailable,
    "PREFERRED_LEADER_NOT_AVAILABLE": BusUnavailable,
    "REBOOTSTRAP_REQUIRED": BusUnavailable,
    "STALE_BROKER_EPOCH": BusUnavailable,
    "STALE_MEMBER_EPOCH": BusUnavailable,
    "THROTTLING_QUOTA_EXCEEDED": BusUnavailable,
    "TRANSACTION_ABORTABLE": BusUnavailable,
    "UNKNOWN_CONTROLLER_ID": BusUnavailable,
    "UNRELEASED_INSTANCE_ID": BusUnavailable,
    "UNSTABLE_OFFSET_COMMIT": BusUnavailable,
    "PRINCIPAL_DESERIALIZATION_FAILURE": BusLoginRefused,
    "UNACCEPTABLE_CREDENTIAL": BusLoginRefused,
    "DUPLICATE_RESOURCE": BusBroken,
    "DUPLICATE_VOTER": BusBroken,
    "ELECTION_NOT_NEEDED": BusBroken,
    "FEATURE_UPDATE_FAILED": BusBroken,
    "FENCED_STATE_EPOCH": BusBroken,
    "GROUP_SUBSCRIBED_TO_TOPIC": BusBroken,
    "INCONSISTENT_VOTER_SET": BusBroken,
    "INVALID_RECORD_STATE": BusBroken,
    "INVALID_REGISTRATION": BusBroken,
    "INVALID_REGULAR_EXPRESSION": BusBroken,
    "INVALID_SHARE_SESSION_EPOCH": BusBroken,
    "INVALID_UPDATE_VERSION": BusBroken,
    "INVALID_VOTER_KEY": BusBroken,
    "MISMATCHED_ENDPOINT_TYPE": BusBroken,
    "NO_REASSIGNMENT_IN_PROGRESS": BusBroken,
    "RESOURCE_NOT_FOUND": BusBroken,
    "SHARE_SESSION_LIMIT_REACHED": BusBroken,
    "SHARE_SESSION_NOT_FOUND": BusBroken,
    "STREAMS_INVALID_TOPOLOGY": BusBroken,
    "STREAMS_INVALID_TOPOLOGY_EPOCH": BusBroken,
    "STREAMS_TOPOLOGY_FENCED": BusBroken,
    "TELEMETRY_TOO_LARGE": BusBroken,
    "TOPIC_DELETION_DISABLED": BusBroken,
    "UNKNOWN_SUBSCRIPTION_ID": BusBroken,
    "UNSUPPORTED_ASSIGNOR": BusBroken,
    "UNSUPPORTED_COMPRESSION_TYPE": BusBroken,
    "UNSUPPORTED_ENDPOINT_TYPE": BusBroken,
    "VOTER_NOT_FOUND": BusBroken,
}
FATES: Mapping[int, Fate] = dict(BY_NUMBER) | {
    getattr(KafkaError, name): fate for name, fate in (*LOCAL.items(), *BROKERS.items()) if hasattr(KafkaError, name)
}
CAUGHT: tuple[type[Exception], ...] = (KafkaException, BufferError, RuntimeError)  # full queue; a client that is closed


def error_of(err: BaseException) -> KafkaError | None:
    """The library's own error inside of what it raised."""
    found = err.args[0] if err.args else None
    return found if isinstance(found, KafkaError) else None


def fate_of_error(error: KafkaError, *, doing: str = "") -> L07Error:
    """The error of ours for one of the library's."""
    return tell(FATES.get(error.code(), BusUnavailable), error.str(), doing=doing, cause=error.name())


def fate_of(err: BaseException, *, doing: str = "") -> L07Error:
    """The error of ours for what the library raised."""
    error = error_of(err)
    if error is not None:
        return fate_of_error(error, doing=doing)
    return tell(BusUnavailable, str(err) or type(err).__name__, doing=doing, cause=type(err).__name__)
