"""A dead letter that its topic does not take would hold up everything behind it in the outbox."""

import pytest

from l07.backends.kafka.topics import LETTER_BYTES
from l07.errors import BadHeaders
from l07.events.record import Record
from l07.pipeline.ingest import dead_letter_of_control

BIG = b"x" * 900_000


@pytest.mark.parametrize(
    "record",
    [
        Record("t", 0, 7, 1000, b"k", BIG, ((b"h", BIG),)),
        Record("t", 0, 7, 1000, BIG, b"v", ()),
        Record("t", 0, 7, 1000, b"k" * 32_768, b"v" * 65_536, ((b"h" * 16_384, b"x" * 16_384),)),
        Record("t" * 249, 0, 7, 1000, None, None, ((b"h" * 60, b"x"),) * 1000),
    ],
    ids=["headers", "key", "at the limits", "many headers"],
)
def test_a_dead_letter_fits_into_its_topic_whatever_the_record_carries(record: Record) -> None:
    letter = dead_letter_of_control(record, BadHeaders("why"), dlq="dlq")
    assert len(letter.value) + len(letter.key or b"") + 1024 <= LETTER_BYTES
