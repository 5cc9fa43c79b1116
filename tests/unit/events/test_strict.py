"""JSON is checked before anybody reads it; the standard library is the reference."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l07.errors import BadEvent, DuplicateKey, MalformedJson
from l07.events import strict

TEXTS = st.text(alphabet='a"\\[]{}:,\n\x00éé😀')
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.booleans())
def test_what_the_standard_library_writes_passes(document: Any, ascii_only: bool) -> None:
    strict.check_json(json.dumps(document, ensure_ascii=ascii_only).encode())


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.integers(55, 70), st.sampled_from(["[%s]", '{"]\\"":%s}', '["[[{", %s, {}]']))
def test_depth_is_counted_outside_of_strings(document: Any, more: int, around: str) -> None:
    text = json.dumps(document)
    for _ in range(more):
        text = around.replace("%s", text)
    padded = '{"pad":[' + ",".join(["[]"] * 70) + '],"x":' + text + "}"
    assert strict.too_deep(padded.encode()) == (levels(json.loads(padded)) > 64)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "data", "\\u0061"]), st.sampled_from(["1", '{"a":1,"b":2}', '{"c":1,"c":2}'])
        )
    )
)
def test_a_key_twice_is_found_in_the_first_two_levels(pairs: list[tuple[str, str]]) -> None:
    text = "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
    names = [name.replace("\\u0061", "a") for name, _ in pairs]
    inside = any(name == "data" and '"c":1' in value for name, value in pairs)
    twice = len(names) != len(set(names)) or inside
    try:
        strict.check_keys(text.encode())
    except DuplicateKey:
        assert twice
    else:
        assert not twice


@pytest.mark.parametrize(
    "value", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"{[" * 70, b"]" * 200]
)
def test_brackets_without_end_are_a_bad_event_and_no_recursion_error(value: bytes) -> None:
    with pytest.raises(BadEvent):
        strict.check_json(value)


def test_white_space_goes_and_everything_else_stays() -> None:
    assert strict.compact(b' {"a" : [1 , "x y"] ,\n "a":2 }') == b'{"a":[1,"x y"],"a":2}'


def test_the_word_nan_in_a_string_does_not_hide_what_is_wrong() -> None:
    with pytest.raises(MalformedJson):
        strict.check_json(b'{"a":"NaN",}')
