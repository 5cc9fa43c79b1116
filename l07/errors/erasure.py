"""Erasure (E7120-E7139)."""

from l07.errors.fates import Fatal, Refused, Transient


class SecretExposed(Fatal):
    """Others than its owner may read the key of the keyed hashes."""

    code = "E7120"


class SecretMissing(Fatal):
    """The key of the keyed hashes is gone, or is not the one that they were made with: nobody can tell what was erased."""

    code = "E7121"


class DatasetRevoked(Refused):
    """A dataset version was revoked, because data had to be erased from it: nothing is trained on it."""

    code = "E7122"


class TaintedModel(Refused):
    """A model learnt from data that was erased since; it goes no further, unless a person says so."""

    code = "E7123"


class BadErasure(Refused):
    """What is to be erased is not named as it must be, or nothing is there to be finished."""

    code = "E7124"


class FileNotRewritten(Refused):
    """The buffer's server did not rewrite its append-only file, so erased bytes may still lie in it."""

    code = "E7125"


class ErasureOpen(Refused):
    """An erasure is recorded, and a part of it is not done yet; the message says which, and who does it."""

    code = "E7126"


class ErasuresElsewhere(Fatal):
    """This buffer's records were erased by orders that this data folder does not know: it would let them in again."""

    code = "E7127"


class ErasuresBehind(Transient):
    """Somebody on this buffer has heard of an erasure that this data folder does not show yet; until it does nothing is read."""

    code = "E7128"
