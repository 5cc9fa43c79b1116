"""What is compiled makes the same columns of messages as the Python beside it, and leaves to it what it does not know."""

import os
import random
from types import MappingProxyType
from typing import Any

import pytest

from l07.backends.parquet import bodies

pytestmark = pytest.mark.skipif(
    bodies.compiled is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
TEXTS = ("", "said", "é\u3042😀" * 5, "x" * 5000, "a\x00b")


def a_call(rng: random.Random) -> dict[str, Any]:
    arguments = rng.choice(({"b": [1, 2.5, None], "é": "ü"}, "{}", None, [1]))
    call = {"id": rng.choice((None, "c1")), "type": "function", "function": {"name": "f", "arguments": arguments}}
    for name in rng.sample(("id", "type"), rng.randrange(3)):
        del call[name]
    return call


def a_message(rng: random.Random) -> dict[str, Any]:
    calls = [a_call(rng) for _ in range(rng.randrange(4))]
    message = {
        "role": rng.choice(("assistant", "tool", None)),
        "content": rng.choice((*TEXTS, None, [{"type": "text", "text": "é"}], 5)),
        "tool_calls": rng.choice((None, (), calls, tuple(calls))),
        "tool_call_id": rng.choice((None, *TEXTS)),
        "name": rng.choice((None, *TEXTS)),
    }
    return {name: value for name, value in message.items() if rng.random() < 0.8}


@pytest.mark.parametrize("seed", range(30))
def test_the_same_columns(seed: int) -> None:
    rng = random.Random(seed)
    rows = [[a_message(rng) for _ in range(rng.choice((0, 1, 9)))] for _ in range(rng.choice((0, 1, 7, 40)))]
    assert bodies.compiled is not None
    assert bodies.compiled.columns(rows, bodies._encode) is not None
    found, plain = bodies._messages(rows), bodies._one_by_one(rows)
    found.validate(full=True)
    assert found.equals(plain)
    assert found.to_pylist() == plain.to_pylist()


CALL = {"function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    "message",
    [
        MappingProxyType({"role": "user"}),
        {"role": "assistant", "tool_calls": [MappingProxyType(CALL)]},
        {"role": "assistant", "tool_calls": [{"function": MappingProxyType(CALL["function"])}]},
        {"role": "assistant", "tool_calls": {1: CALL}.values()},
    ],
)
def test_what_is_of_another_type_is_left_to_python(message: Any) -> None:
    assert bodies.compiled is not None
    assert bodies.compiled.columns([[message]], bodies._encode) is None
    assert bodies._messages([[message]]).to_pylist() == bodies._one_by_one([[message]]).to_pylist()


@pytest.mark.parametrize("name", ["role", "tool_call_id", "name"])
def test_what_is_no_text_is_refused_by_both(name: str) -> None:
    for made in (bodies._messages, bodies._one_by_one):
        with pytest.raises(TypeError):
            made([[{"role": "user", "content": "x", name: 5}]])


def test_half_a_character_is_refused_by_both() -> None:
    for made in (bodies._messages, bodies._one_by_one):
        with pytest.raises(UnicodeEncodeError):
            made([[{"role": "user", "content": "\ud83d"}]])
