"""Records that can never be read, of many kinds; each must become one dead letter."""

import json
import random
from collections.abc import Sequence
from typing import Any

Raw = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]

GOOD: dict[str, Any] = {
    "specversion": "1.0", "type": "evaluation.completed", "source": "/evaluation", "id": "p-1",
    "data": {"execution_id": "poisoned", "quality_score": 90, "confidence": 0.9},
}  # fmt: skip


def _event(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...}).encode()


def _data(**changes: Any) -> bytes:
    return _event(data=GOOD["data"] | changes)


VALUES: Sequence[bytes | None] = (
    None,  # a tombstone
    b"",
    b"not json at all",
    b"[1,2,3]",
    b'"text"',
    b"{",
    b"\xff\xfe{}",
    b'{"specversion":"1.0","id":"\\ud800"}',
    b"[" * 5000,
    b'{"a":' * 80 + b"1" + b"}" * 80,
    b'{"specversion":"1.0","specversion":"1.0","id":"d","source":"/s","type":"evaluation.completed","data":{}}',
    b'{"specversion":"1.0","id":"n","source":"/s","type":"evaluation.completed","data":{"quality_score":NaN}}',
    b'{"specversion":"1.0","id":"i","source":"/s","type":"evaluation.completed","data":{"quality_score":1e999}}',
    _event(specversion="0.3"),
    _event(id=...),
    _event(id=""),
    _event(id="x" * 300),
    _event(source=...),
    _event(type=7),
    _event(time="yesterday"),
    _event(time="2999-01-01T00:00:00Z"),
    _event(data=...),
    _event(data=[1]),
    _data(quality_score=101),
    _data(quality_score="90"),
    _data(confidence=1.5),
    _data(confidence=None),
    _data(execution_id=None),
    _data(execution_id=""),
    _data(execution_id=5),
    _event(type="execution.completed", data={"messages": []}),
    _event(type="execution.completed", data={"execution_id": "poisoned", "messages": "hello"}),
    _event(type="planning.completed", data={"plan": {}}),
)
BAD_TYPE = (("content-type", b"application/cloudevents-batch+json"),)
TWICE = (("ce_id", b"1"), ("ce_id", b"2"), ("content-type", b"application/json"))
NOT_TEXT = (("ce_id", b"\xff\xfe"), ("ce_type", b"x"), ("content-type", b"application/json"))


def poison(rng: random.Random) -> Raw:
    """Key, value, headers."""
    draw = rng.random()
    key = rng.choice([None, b"poison", b"\xff\x00"])
    if draw < 0.01:
        return key, b"x" * 2_000_000, ()
    if draw < 0.15:
        return key, _event(), rng.choice([BAD_TYPE, TWICE, NOT_TEXT])
    return key, rng.choice(VALUES), ()
