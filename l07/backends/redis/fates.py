"""Every exception class of redis-py that can reach us, and what happens next. A test fails when it grows a new one."""

from collections.abc import Mapping

from redis import exceptions as lib

from l07.errors import (
    BufferBroken,
    BufferForbidden,
    BufferFull,
    BufferLayoutUnknown,
    BufferReadOnly,
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
    "AskError": BufferBroken,
    "MovedError": BufferBroken,
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
    "WRONGTYPE": BufferBroken,
}

CAUGHT: tuple[type[Exception], ...] = (*FATES, OSError)  # OSError: TimeoutError too

SAID: Mapping[Fate, str] = {
    BufferUnavailable: "the buffer's server did not answer; whether it did the step is unknown, so it comes again",
    BufferFull: "the buffer's server has no memory left (maxmemory): nothing was written",
    BufferReadOnly: "the buffer's server takes no writes now (read-only, or its disk is full): nothing was written",
    BufferForbidden: "the buffer's server refuses this user; see buffer.url and the server's ACL",
    BufferBroken: "the buffer's server gave an error that no retry mends",
    BufferLayoutUnknown: "the buffer was written by a release with another state layout; use that release",
}


def said(err: BaseException) -> str:
    """What the server or the system said; `str()` of a newer library gives only the class."""
    return str(err.args[0]) if err.args else str(err)


def fate_of(err: BaseException) -> L07Error:
    """The error of ours for one of the library's or of the operating system's."""
    text = said(err)
    fate = _class_of(err, text)
    return fate(f"{SAID[fate]}: {text or type(err).__name__}", cause=type(err).__name__)


def _class_of(err: BaseException, text: str) -> Fate:
    if isinstance(err, lib.ResponseError):
        reply = text.rpartition("caused error: ")[2]  # what a pipeline puts before it
        for word in reply.replace(":", " ").split()[:3]:  # an error inside the script has a prefix
            if word in WORDS:
                return WORDS[word]
    for kind in type(err).__mro__:
        if kind in FATES:
            return FATES[kind]
    return BufferUnavailable
