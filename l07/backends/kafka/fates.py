"""Every exception class of aiokafka that can reach us, and what happens next. A test fails when it grows a new one.

The brokers' own errors have numbers, which every client passes on: `BY_NUMBER` serves the second client too."""

import ssl
from collections.abc import Mapping

from aiokafka import errors as lib

from l07.backends.kafka.tokens import TokenUnreadable
from l07.errors import (
    BusBroken,
    BusForbidden,
    BusLoginRefused,
    BusUnavailable,
    L07Error,
    MessageTooLarge,
    TopicMissing,
    TopicUnfit,
)

Fate = type[L07Error]

BY_NAME: Mapping[str, Fate] = {  # by name: releases of the library differ in what they have
    # not reached, not ready, moved, or somebody else's turn: the same again, after a while
    "KafkaError": BusUnavailable,
    "NoBrokersAvailable": BusUnavailable,
    "NodeNotReadyError": BusUnavailable,
    "KafkaProtocolError": BusUnavailable,
    "CorrelationIdError": BusUnavailable,
    "Cancelled": BusUnavailable,
    "TooManyInFlightRequests": BusUnavailable,
    "StaleMetadata": BusUnavailable,
    "MetadataEmptyBrokerList": BusUnavailable,
    "KafkaUnavailableError": BusUnavailable,
    "KafkaTimeoutError": BusUnavailable,
    "KafkaConnectionError": BusUnavailable,
    "QuotaViolationError": BusUnavailable,
    "ConsumerStoppedError": BusUnavailable,
    "CommitFailedError": BusUnavailable,
    "BrokerResponseError": BusUnavailable,
    "UnknownError": BusUnavailable,  # also what an older member hears when another has taken its instance id
    "UnknownTopicOrPartitionError": BusUnavailable,  # made a moment ago, or deleted: the check at start tells which
    "LeaderNotAvailableError": BusUnavailable,
    "NotLeaderForPartitionError": BusUnavailable,
    "RequestTimedOutError": BusUnavailable,
    "BrokerNotAvailableError": BusUnavailable,
    "ReplicaNotAvailableError": BusUnavailable,
    "StaleControllerEpochError": BusUnavailable,
    "StaleLeaderEpochCodeError": BusUnavailable,
    "GroupLoadInProgressError": BusUnavailable,
    "GroupCoordinatorNotAvailableError": BusUnavailable,
    "NotCoordinatorForGroupError": BusUnavailable,
    "NotEnoughReplicasError": BusUnavailable,
    "NotEnoughReplicasAfterAppendError": BusUnavailable,
    "IllegalGenerationError": BusUnavailable,
    "UnknownMemberIdError": BusUnavailable,
    "RebalanceInProgressError": BusUnavailable,
    "MemberIdRequired": BusUnavailable,
    "NotControllerError": BusUnavailable,
    "KafkaStorageError": BusUnavailable,
    "LogDirNotFound": BusUnavailable,
    "ReassignmentInProgress": BusUnavailable,
    "FetchSessionIdNotFound": BusUnavailable,
    "InvalidFetchSessionEpoch": BusUnavailable,
    "ListenerNotFound": BusUnavailable,
    "OperationNotAttempted": BusUnavailable,
    "OffsetOutOfRangeError": BusUnavailable,  # a subscription asks for a new start itself
    "NoOffsetForPartitionError": BusUnavailable,
    "NonEmptyGroup": BusUnavailable,
    "TopicAlreadyExistsError": BusUnavailable,  # two processes make the topics at once: look again
    # of the producer: it is dropped, and the same messages go out through a new one
    "ProducerClosed": BusUnavailable,
    "ProducerFenced": BusUnavailable,
    "OutOfOrderSequenceNumber": BusUnavailable,
    "DuplicateSequenceNumber": BusUnavailable,
    "InvalidProducerEpoch": BusUnavailable,
    "UnknownProducerId": BusUnavailable,
    "InvalidProducerIdMapping": BusUnavailable,
    "ConcurrentTransactions": BusUnavailable,
    "TransactionCoordinatorFenced": BusUnavailable,
    "CorruptRecordException": BusUnavailable,  # what we sent was damaged on its way; what we read never comes as this
    "InvalidTimestampError": BusUnavailable,  # our clock is far ahead of the brokers': it goes when the clock is mended
    # who we are
    "AuthenticationMethodNotSupported": BusLoginRefused,
    "AuthenticationFailedError": BusLoginRefused,
    "UnsupportedSaslMechanismError": BusLoginRefused,
    "IllegalSaslStateError": BusLoginRefused,
    "SaslAuthenticationFailed": BusLoginRefused,
    "SecurityDisabled": BusLoginRefused,
    "InvalidPrincipalType": BusLoginRefused,
    "DelegationTokenAuthDisabled": BusLoginRefused,
    "DelegationTokenNotFound": BusLoginRefused,
    "DelegationTokenOwnerMismatch": BusLoginRefused,
    "DelegationTokenRequestNotAllowed": BusLoginRefused,
    "DelegationTokenExpired": BusLoginRefused,
    # what we may
    "TopicAuthorizationFailedError": BusForbidden,
    "GroupAuthorizationFailedError": BusForbidden,
    "ClusterAuthorizationFailedError": BusForbidden,
    "TransactionalIdAuthorizationFailed": BusForbidden,
    "DelegationTokenAuthorizationFailed": BusForbidden,
    # what does not fit
    "MessageSizeTooLargeError": MessageTooLarge,
    "RecordListTooLargeError": MessageTooLarge,
    "InvalidTopicError": TopicMissing,
    "InvalidPartitionsError": TopicUnfit,
    "InvalidReplicationFactorError": TopicUnfit,
    "InvalidReplicationAssignmentError": TopicUnfit,
    "InvalidConfigurationError": TopicUnfit,
    "PolicyViolationError": TopicUnfit,
    # we, the settings or the brokers are wrong; trying again changes nothing
    "IllegalStateError": BusBroken,
    "IllegalArgumentError": BusBroken,
    "IllegalOperation": BusBroken,
    "UnrecognizedBrokerVersion": BusBroken,
    "IncompatibleBrokerVersion": BusBroken,
    "UnsupportedCodecError": BusBroken,
    "KafkaConfigurationError": BusBroken,
    "RecordTooLargeError": BusBroken,
    "NoError": BusBroken,
    "InvalidFetchRequestError": BusBroken,
    "OffsetMetadataTooLargeError": BusBroken,
    "InvalidRequiredAcksError": BusBroken,
    "InconsistentGroupProtocolError": BusBroken,
    "InvalidGroupIdError": BusBroken,
    "InvalidSessionTimeoutError": BusBroken,
    "InvalidCommitOffsetSizeError": BusBroken,
    "UnsupportedVersionError": BusBroken,
    "InvalidRequestError": BusBroken,
    "UnsupportedForMessageFormatError": BusBroken,
    "InvalidTxnState": BusBroken,
    "InvalidTransactionTimeout": BusBroken,
    "GroupIdNotFound": BusBroken,
}
FATES: Mapping[type[Exception], Fate] = {
    getattr(lib, name): fate for name, fate in BY_NAME.items() if hasattr(lib, name)
}
BY_NUMBER: Mapping[int, Fate] = {
    number: fate for kind, fate in FATES.items() if isinstance(number := getattr(kind, "errno", None), int)
} | {
    82: BusUnavailable,  # FENCED_INSTANCE_ID: another member has our instance id; aiokafka knows no name for it
    74: BusUnavailable,  # FENCED_LEADER_EPOCH
    75: BusUnavailable,  # UNKNOWN_LEADER_EPOCH
    87: BusBroken,  # INVALID_RECORD: the broker will never take this record
    90: BusUnavailable,  # PRODUCER_FENCED
    100: BusUnavailable,  # UNKNOWN_TOPIC_ID: made again under the same name
}

CAUGHT: tuple[type[Exception], ...] = (*FATES, OSError)  # OSError: TimeoutError, ssl.SSLError and TokenUnreadable too

SAID: Mapping[Fate, str] = {
    BusUnavailable: "Kafka did not do it now",
    BusLoginRefused: "Kafka's brokers refuse this login; see bus.kafka.security, sasl_mechanism and what goes with them",
    BusForbidden: "Kafka refuses this user a topic or a group; see its ACLs",
    MessageTooLarge: "an event is larger than its topic takes; raise max.message.bytes of the topic",
    TopicMissing: "Kafka takes no topic of this name",
    TopicUnfit: "Kafka does not make or change a topic as asked; see bus.partitions and bus.kafka.replication",
    BusBroken: "Kafka gave an error that no retry mends",
}


def fate_of(err: BaseException, *, doing: str = "") -> L07Error:
    """The error of ours for one of the library's or of the operating system's."""
    fate = class_of(err)
    text = str(err) if isinstance(err, OSError) else ": ".join((type(err).__name__, *map(str, err.args)))
    if isinstance(err.__cause__, OSError):
        text += f": {err.__cause__}"
    return tell(fate, text or type(err).__name__, doing=doing, cause=type(err).__name__)


def fate_of_number(number: int, text: str, *, doing: str = "") -> L07Error:
    """The error of ours for a broker's error number."""
    return tell(BY_NUMBER.get(number, BusUnavailable), text, doing=doing, cause=str(number))


def tell(fate: Fate, text: str, *, doing: str, cause: str) -> L07Error:
    return fate(f"{SAID[fate]}{f' ({doing})' if doing else ''}: {text}", cause=cause)


def class_of(err: BaseException) -> Fate:
    """A certificate that does not fit stays so; a connection that breaks in the middle of TLS may be the network."""
    if isinstance(err.__cause__, ssl.SSLError | TokenUnreadable):  # a connection that was closed because of it
        return class_of(err.__cause__)
    if isinstance(err, TokenUnreadable):
        return BusLoginRefused if err.refused else BusUnavailable
    if isinstance(err, ssl.SSLCertVerificationError):
        return BusLoginRefused
    if isinstance(err, ssl.SSLError) and (err.reason or "").startswith(("TLSV1_ALERT", "SSLV3_ALERT", "TLSV13_ALERT")):
        return BusLoginRefused  # the broker does not like our certificate, or wants one
    for kind in type(err).__mro__:
        if kind in FATES:
            return FATES[kind]
    return BusUnavailable
