"""The example buffer and its server (E7450-E7479)."""

from l07.errors.fates import Fatal, Refused, Transient


class BufferUnavailable(Transient):
    """The buffer's server did not answer; whether it did the step is unknown, so the same step is tried again."""

    code = "E7450"


class BufferLayoutUnknown(Fatal):
    """The buffer's state was written by a release with another layout."""

    code = "E7451"


class BufferEvicts(Fatal):
    """The buffer's server is set to evict keys, which would lose examples silently."""

    code = "E7452"


class BufferNotDurable(Fatal):
    """The buffer's server cannot promise that what it acknowledged is on disk."""

    code = "E7453"


class BufferFull(Transient):
    """The buffer's server has no memory left; nothing was written, and the inputs wait."""

    code = "E7454"


class BufferReadOnly(Transient):
    """The buffer's server takes no writes now: read-only, or its disk is full; nothing was written."""

    code = "E7455"


class BufferBroken(Fatal):
    """The buffer's server gave an error that no retry mends."""

    code = "E7456"


class BufferForbidden(Fatal):
    """The buffer's server refuses this user or password."""

    code = "E7457"


class BadBatch(Fatal):
    """A batch for the buffer breaks its contract; nothing was written."""

    code = "E7458"


class NoSuchBatch(Refused):
    """A sealed batch was asked for that was never sealed, or is released."""

    code = "E7459"


class BodyDamaged(Fatal):
    """A stored run is gone or is not what was applied; the message names it."""

    code = "E7460"


class BufferNotOnDisk(Transient):
    """The buffer's server did not bring its writes to disk in time, so nothing may leave yet."""

    code = "E7461"


class ValkeyNotStarted(Fatal):
    """The embedded Valkey did not start; the message has the end of its log."""

    code = "E7462"


class ValkeyMissing(Fatal):
    """No Valkey or Redis server program is installed here."""

    code = "E7463"


class NoLiveBuffer(Refused):
    """No process holds this data folder's buffer open, so there is nothing to attach to."""

    code = "E7464"


class BufferForeign(Fatal):
    """Under the buffer's name lie keys that another program wrote; nothing was written."""

    code = "E7465"


class BufferShardsDiffer(Fatal):
    """The buffer was made with another number of shards than `buffer.shards` says; the message has it."""

    code = "E7470"


class BufferOtherKind(Fatal):
    """`buffer.url` names one server where a cluster answers, or a cluster where one server does."""

    code = "E7471"


class BufferMoves(Transient):
    """A shard of the buffer is on its way to another node of the cluster; it stands still until it is there."""

    code = "E7472"


class BufferNotTrusted(Fatal):
    """The buffer's server and we do not trust each other's certificates, or only one of us speaks TLS."""

    code = "E7473"
