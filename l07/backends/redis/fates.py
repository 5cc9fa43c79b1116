"""Every exception class of redis-py that can reach us, and what happens next. A test fails when it grows a new one."""

import ssl
from collections.abc import Mapping

from redis import exceptions as lib

from l07.errors import (
    BufferBroken,
    BufferForbidden,
    BufferForeign,
    BufferFull,
    BufferLayoutUnknown,
    BufferMoves,
    BufferNotTrusted,
    BufferOtherKind,
    BufferReadOnly,
    BufferShardsDiffer,
    BufferUnavailable,
    L07Error,
)

Fate = type[L07Error]

BY_NAME: Mapping[str, Fate] = {  # by name: releases of the library differ in what they have
    "RedisError": BufferBroken,
    # nobody knows whether the call was done: the same step again, from the stored offsets
    "ConnectionError": BufferUnavailable,
    "TimeoutError": BufferUnavailable,
    "BusyLoadingError": BufferUnavailable,
    "MaxConnectionsError": BufferUnavailable,
    "InvalidResponse": BufferUnavailable,
    "ClusterError": BufferUnavailable,
    "ClusterDownError": BufferUnavailable,
    "MasterDownError": BufferUnavailable,
    "TryAgainError": BufferUnavailable,
    "ChildDeadlockedError": BufferUnavailable,
    # the server said no, and did nothing
    "OutOfMemoryError": BufferFull,
    "ReadOnlyError": BufferReadOnly,
    "AuthenticationError": BufferForbidden,
    "AuthorizationError": BufferForbidden,
    "NoPermissionError": BufferForbidden,
    "AuthenticationWrongNumberOfArgsError": BufferForbidden,
    "ExternalAuthProviderError": BufferForbidden,
    # we, the settings or the server are wrong; trying again changes nothing
    "ResponseError": BufferBroken,
    "DataError": BufferBroken,
    "NoScriptError": BufferBroken,
    "ModuleError": BufferBroken,
    "ExecAbortError": BufferBroken,
    "WatchError": BufferBroken,
    "PubSubError": BufferBroken,
    "LockError": BufferBroken,
    "LockNotOwnedError": BufferBroken,
    "AskError": BufferMoves,
    "MovedError": BufferOtherKind,  # a shard's own client follows it; a plain one was not told of the cluster
    "ClusterCrossSlotError": BufferBroken,
    "RedisClusterException": BufferBroken,
    "SlotNotCoveredError": BufferBroken,
    "CrossSlotTransactionError": BufferBroken,
    "InvalidPipelineStack": BufferBroken,
    "IncorrectPolicyType": BufferBroken,
    "NoSuchFieldsetError": BufferBroken,
}
FATES: Mapping[type[Exception], Fate] = {
    getattr(lib, name): fate for name, fate in BY_NAME.items() if hasattr(lib, name)
}

# replies that the library has no class for, by the first word
WORDS: Mapping[str, Fate] = {
    "OOM": BufferFull,
    "READONLY": BufferReadOnly,
    "MISCONF": BufferReadOnly,  # the disk under the server is full, or its last write failed
    "NOREPLICAS": BufferReadOnly,
    "MASTERDOWN": BufferUnavailable,
    "LOADING": BufferUnavailable,
    "BUSY": BufferUnavailable,
    "UNKILLABLE": BufferUnavailable,
    "CLUSTERDOWN": BufferUnavailable,
    "TRYAGAIN": BufferUnavailable,
    "NOAUTH": BufferForbidden,
    "WRONGPASS": BufferForbidden,
    "NOPERM": BufferForbidden,
    "L07LAYOUT": BufferLayoutUnknown,
    "L07SHARDS": BufferShardsDiffer,
    "L07FOREIGN": BufferForeign,
    "L07AGAIN": BufferUnavailable,  # two steps drew one name: the next draws another
    "WRONGTYPE": BufferForeign,
}

NO_RIGHT_IN_SCRIPT = "The user executing the script"  # can't run this command, can't access these keys

CAUGHT: tuple[type[Exception], ...] = (*FATES, OSError)  # OSError: TimeoutError too

SAID: Mapping[Fate, str] = {
    BufferUnavailable: "the buffer's server did not answer; whether it did the step is unknown, so it comes again",
    BufferFull: "the buffer's server has no memory left (maxmemory): nothing was written",
    BufferReadOnly: "the buffer's server takes no writes now (read-only, or its disk is full): nothing was written",
    BufferForbidden: "the buffer's server refuses this user; see buffer.username, buffer.password and the server's ACL",
    BufferBroken: "the buffer's server gave an error that no retry mends",
    BufferLayoutUnknown: "the buffer was written by a release with another state layout; let that release empty it with"
    " `l07 run --until-idle`, or set L07_BUFFER__NAME to a new name: then the topics are read again from their beginning",
    BufferForeign: "under the buffer's name lies what another program wrote; nothing was written; set another buffer.name",
    BufferShardsDiffer: "the buffer was made with another number of shards",
    BufferOtherKind: "the buffer's server is a node of a cluster; buffer.url = redis+cluster://HOST:PORT,HOST:PORT",
    BufferMoves: "a shard of the buffer moves to another node of the cluster; nothing was done, so the step comes again",
    BufferNotTrusted: "the TLS of the buffer's server does not fit buffer.url and the certificates of the settings",
}


def said(err: BaseException) -> str:
    """What the server or the system said; `str()` of a newer library gives only the class, and a pipeline adds to it."""
    text = str(err.args[0]) if err.args else str(err)
    reply = text.rpartition("of pipeline caused error: ")[2]
    return reply[2:-3] if reply.startswith(("('", '("')) else reply  # one that it made of the exception's arguments


def fate_of(err: BaseException) -> L07Error:
    """The error of ours for one of the library's or of the operating system's."""
    text = said(err)
    fate = _class_of(err, text)
    if fate is BufferShardsDiffer:
        return shards_differ(text.rpartition("/")[2] if "/" in text else "1")
    return fate(f"{SAID[fate]}: {text or type(err).__name__}", cause=type(err).__name__)


def shards_differ(made_with: str) -> BufferShardsDiffer:
    """What to do, not only what is wrong."""
    return BufferShardsDiffer(
        f"the buffer was made with {made_with} shards, and that stays; go on with L07_BUFFER__SHARDS={made_with},"
        " or let `l07 run --until-idle` empty it and give the new one another buffer.name",
        made_with=int(made_with),
    )


def _tls_failed(err: BaseException | None) -> bool:
    """Was it TLS itself, and not a connection that was cut while it was set up?"""
    while err is not None:
        if isinstance(err, ssl.SSLError):
            return not isinstance(err, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        err = err.__cause__ or err.__context__
    return False


def _class_of(err: BaseException, text: str) -> Fate:
    if _tls_failed(err):
        return BufferNotTrusted
    if isinstance(err, lib.ResponseError):
        if NO_RIGHT_IN_SCRIPT in text:
            return BufferForbidden
        for word in text.replace(":", " ").split()[:3]:  # an error inside the script has a prefix
            if word in WORDS:
                return WORDS[word]
    for kind in type(err).__mro__:
        if kind in FATES:
            return FATES[kind]
    return BufferUnavailable
