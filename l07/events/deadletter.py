"""What lies on the dead letter topic: a record that could not be read, and the mark of a person who sent it again.

It is the one exception to "no prompts in events". No prefix goes before the names of these two types.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

LETTER = "learning.dead_letter"
RETRIED = "learning.dead_letter_retried"

Count = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Base64 = Annotated[str, msgspec.Meta(extra_json_schema={"contentEncoding": "base64"})]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Header = Annotated[list[Base64 | None], msgspec.Meta(min_length=2, max_length=2)]  # name and value


class DeadLetterData(msgspec.Struct, frozen=True, kw_only=True):
    """Where the record lay, what was wrong, and its bytes up to 64 KB. None is written, as null."""

    id: Text  # the first 24 hexadecimal digits of a SHA-256 of cluster, topic, partition and offset
    code: str
    message: str
    topic: str
    partition: Count
    offset: Count
    timestamp_ms: int  # the record's own
    headers: list[Header]
    key: Base64 | None
    sha256: Sha256  # of the value
    length: Count  # of the value, in bytes
    raw: Base64 | None  # null: longer than 64 KB, a retry reads the source again; or there was no value


class RetriedData(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letter was sent again; `--all` passes over it from then on."""

    id: Text


TYPES: Mapping[str, tuple[str, type[msgspec.Struct]]] = {  # type -> source, struct of `data`
    LETTER: ("/l07/ingest", DeadLetterData),
    RETRIED: ("/l07/cli", RetriedData),
}
