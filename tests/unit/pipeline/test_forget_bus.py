"""What becomes of a record of the bus when somebody was erased."""

import base64
import json
from typing import Any

from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, SUBJECT, Marks
from l07.events.record import Record
from l07.pipeline.forget import bus
from l07.settings import Topics

MARKS = Marks(b"k" * 32)
BY = Tombstones(MARKS, {KEY: frozenset({MARKS.of(KEY, "execution:gone")}), SUBJECT: frozenset()}, 1)
TOPICS = Topics()


def a_record(document: object, *, topic: str = TOPICS.traces, key: bytes | None = b"k", offset: int = 0) -> Record:
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Record(topic, 0, offset, 1_767_600_000_000, key, value, ())


def a_letter(raw: bytes | None, *, key: bytes | None = None, offset: int = 4) -> Record:
    def packed(text: bytes | None) -> str | None:
        return None if text is None else base64.b64encode(text).decode()

    data = {
        "id": "l1", "code": "E7003", "message": "no JSON", "topic": TOPICS.traces, "partition": 0, "offset": offset,
        "timestamp_ms": 1, "headers": [], "key": packed(key), "sha256": "0" * 64, "length": 9, "raw": packed(raw),
    }  # fmt: skip
    return a_record({"specversion": "1.0", "type": "learning.dead_letter", "data": data}, topic=TOPICS.dlq)


def after(*records: Record) -> list[Record | None]:
    """What lies in the place of each, gone through in the order of the parts; None: as it was."""
    found = bus.changes(TOPICS, BY, set())
    of = {topic: change for topics, change in found for topic in topics}
    return [of[record.topic](record) for record in records]


def test_an_input_record_is_emptied_and_keeps_its_place() -> None:
    gone, stays = a_record({"data": {"execution_id": "gone"}}), a_record({"data": {"execution_id": "stays"}})
    found = after(gone, stays)
    assert found[0] is not None
    assert found[0].is_erased
    assert (found[0].key, found[0].offset, found[0].timestamp_ms) == (None, 0, gone.timestamp_ms)
    assert found[1] is None
    assert after(found[0]) == [None], "once"


def test_a_letter_goes_by_its_bytes_by_its_key_and_by_the_place_that_it_names() -> None:
    raw = b'{"data":{"execution_id":"gone",'
    assert after(a_letter(raw))[0] is not None
    assert after(a_letter(b"else", key=b"gone"))[0] is not None
    assert after(a_letter(b"else", key=b"other")) == [None]
    source = a_record({"data": {"execution_id": "gone"}}, offset=4)
    assert after(source, a_letter(None))[1] is not None, "too long to keep, and its source was erased"
    assert after(source, a_letter(None, offset=5))[1] is None


def test_an_announcement_loses_the_keys_and_nothing_else() -> None:
    data: dict[str, Any] = {"track": "default", "keys": ["execution:a", "execution:gone", "execution:b"], "counts": {}}
    event = {"specversion": "1.0", "type": "com.example.batch.sealed", "id": "i", "data": data}
    [new] = after(a_record(event, topic=TOPICS.events))
    assert new is not None
    assert json.loads(new.value or b"") == {**event, "data": {**data, "keys": ["execution:a", "execution:b"]}}
    assert after(new) == [None]
    assert after(a_record({"type": "dataset.created", "data": {}}, topic=TOPICS.events)) == [None]


def test_a_strangers_record_on_our_topics_is_left_alone() -> None:
    assert after(a_record(b"\xff\xfe", topic=TOPICS.dlq), a_record(b"batch.sealed", topic=TOPICS.events)) == [
        None,
        None,
    ]
