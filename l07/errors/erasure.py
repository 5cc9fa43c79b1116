"""Erasure (E7120-E7139)."""

from l07.errors.fates import Fatal


class SecretExposed(Fatal):
    """Others than its owner may read the key of the keyed hashes."""

    code = "E7120"


class SecretMissing(Fatal):
    """The key of the keyed hashes is gone, or is not the one that they were made with: nobody can tell what was erased."""

    code = "E7121"
