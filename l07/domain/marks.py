"""Keyed hashes that stand for an id which may not be kept: whose data it was, what was erased.

Who has the ids but not the key cannot tell whether one of them is meant; who has the key cannot get an id back out of its
mark, only ask whether an id that he has is it.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

KEY, SUBJECT, SOURCE = (
    "key",
    "subject",
    "source",
)  # what a mark is of: a run's natural key, a person, a CloudEvents source


@dataclass(frozen=True, slots=True)
class Marks:
    """BLAKE2b with a secret of 32 bytes (RFC 7693, keyed mode), 16 bytes a mark."""

    secret: bytes = field(repr=False)

    def of(self, kind: str, text: str) -> str:
        """32 hexadecimal digits; the same text of another kind has another mark."""
        raw = text.encode("utf-8", "surrogatepass")
        return blake2b(raw, digest_size=16, key=self.secret, person=kind.encode()).hexdigest()
