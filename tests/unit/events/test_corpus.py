"""Each bad input has its fate, and costs nothing else."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l07.errors import BadEvent
from l07.events import inbound, normalise
from l07.events.modes import structured
from l07.events.record import Record
from l07.events.strict import compact
from tests.unit.events.builders import NAMES, NOW_MS, STRUCTURED, a_record
from tests.unit.events.corpus import cases, record_of

CASES = cases()
SMALL = [case for case in CASES if len(record_of(case).value or b"") < 5000]


def fate(record: Record, limits: inbound.Limits) -> tuple[str, str]:
    try:
        event = inbound.decode(record, limits=limits, names=NAMES)
    except BadEvent as err:
        return "dead_letter", err.code
    if isinstance(event, inbound.Other):
        return "rejected", "type_not_read"
    if isinstance(event, inbound.Score):
        return "ok", "score"
    if isinstance(event, inbound.Review):
        return "ok", "review"
    if isinstance(event, inbound.Payload):
        return ("rejected", event.reason) if event.reason else ("ok", event.part)
    talk = normalise.normalise(event.body)
    assert event.reason in ("", talk.reason)
    return ("rejected", talk.reason) if talk.reason else ("ok", "trace")


def limits_of(case: dict[str, Any]) -> inbound.Limits:
    return inbound.Limits(**case.get("limits", {}))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']}: {case['name']}" for case in CASES])
def test_has_its_fate(case: dict[str, Any]) -> None:
    expected = case["expect"], case.get("code") or case.get("reason") or case.get("kind")
    assert fate(record_of(case), limits_of(case)) == expected


def test_there_are_at_least_90_bad_inputs_and_each_code_of_the_decoder_has_one() -> None:
    codes = Counter(case.get("code") for case in CASES if case["expect"] != "ok")
    assert sum(codes.values()) >= 90
    assert set(codes) - {None} == {f"E70{number:02}" for number in (*range(22), 23)}


@pytest.mark.parametrize("case", CASES, ids=[f"{case['file']}: {case['name']}" for case in CASES])
def test_the_fast_way_accepts_only_what_the_careful_way_accepts_and_says_the_same(case: dict[str, Any]) -> None:
    record, limits = record_of(case), limits_of(case)

    def way(take: Callable[..., object], *more: bytes) -> object:
        value = structured(record, max_bytes=limits.max_bytes)
        return take(value, *(value for _ in more), record.timestamp_ms, limits, NAMES)

    quick, careful = said(lambda: way(inbound._quick, b"")), said(lambda: way(inbound._careful))
    assert quick in (None, careful)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SMALL), st.data())
def test_damage_gives_an_event_or_a_bad_event_and_never_another_error(
    case: dict[str, Any], data: st.DataObject
) -> None:
    value = bytearray(record_of(case).value or b"{}")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(value)))
        value[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    record = a_record(bytes(value) or b" ", timestamp_ms=NOW_MS)
    for headers in (STRUCTURED, record_of(case).headers):
        outcome, code = fate(record._replace(headers=headers), limits_of(case))
        assert outcome != "dead_letter" or code.startswith("E70")


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from([case for case in SMALL if case["expect"] == "ok"]), st.data())
def test_after_damage_too_both_ways_say_the_same(case: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(compact(structured(record_of(case), max_bytes=10**6)))
    place = data.draw(st.integers(0, len(value) - 1))
    piece = data.draw(
        st.sampled_from([b'"id":"2",', b" ", b"1e999", b"\xff", b"\\ud800", b'"a":', b"[[", b"}", b"\x7f"])
    )
    value[place:place] = piece
    quick = said(lambda: inbound._quick(bytes(value), bytes(value), NOW_MS, inbound.Limits(), NAMES))
    careful = said(lambda: inbound._careful(bytes(value), NOW_MS, inbound.Limits(), NAMES))
    assert quick in (None, careful)


def said(way: Callable[[], object]) -> object:
    try:
        event = way()
    except BadEvent as err:
        return err.code
    # White space inside a member of `data` counts in the digest of the fast way only; decode always asks it first.
    return msgspec.structs.replace(event, content=b"") if isinstance(event, inbound.Trace) else event
