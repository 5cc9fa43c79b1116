"""What is compiled makes the same columns of messages as the Python beside it, and leaves to it what it does not know."""

import os
import random
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from l07.backends.parquet import bodies
from l07.backends.parquet.schema import BODY
from l07.domain.example import TrainingExample

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


def an_example(messages: Any, **said: Any) -> TrainingExample:
    texts = dict.fromkeys(bodies.TEXTS, "x") | {"tools": ({"type": "function"},), "messages": tuple(messages)} | said
    return cast("TrainingExample", SimpleNamespace(**texts))


def taken(example: TrainingExample) -> bool:
    """Whether what is compiled does not leave it to Python."""
    begun = bodies._Begun()
    begun.add(example)
    return bool(begun._count)


@pytest.mark.parametrize("seed", range(30))
def test_the_same_columns(seed: int) -> None:
    rng = random.Random(seed)
    rows = [[a_message(rng) for _ in range(rng.choice((0, 1, 9)))] for _ in range(rng.choice((0, 1, 7, 40)))]
    runs = [an_example(row, goal=rng.choice(TEXTS), model_version=rng.choice((None, *TEXTS))) for row in rows]
    assert all(map(taken, runs))
    found, plain = bodies.table_of(runs).combine_chunks(), bodies.slowly(runs)
    found.validate(full=True)
    assert found.equals(plain)
    assert found.to_pylist() == plain.to_pylist()


CALL = {"function": {"name": "f", "arguments": {}}}
ODD = [
    MappingProxyType({"role": "user"}),
    {"role": "assistant", "tool_calls": [MappingProxyType(CALL)]},
    {"role": "assistant", "tool_calls": [{"function": MappingProxyType(CALL["function"])}]},
    {"role": "assistant", "tool_calls": [CALL, {"function": MappingProxyType(CALL["function"])}]},
    {"role": "assistant", "tool_calls": {1: CALL}.values()},
]


@pytest.mark.parametrize("message", ODD)
def test_what_is_of_another_type_is_left_to_python(message: Any) -> None:
    run = an_example([message])
    assert not taken(run)
    assert bodies.table_of([run]).to_pylist() == bodies.slowly([run]).to_pylist()


@pytest.mark.parametrize("message", ODD)
@pytest.mark.parametrize("place", range(18))
def test_a_run_that_is_left_to_python_leaves_nothing_behind(message: Any, place: int) -> None:
    """Whatever of it was written before that was seen."""
    rng = random.Random(place)
    runs = [an_example([a_message(rng) for _ in range(rng.randrange(4))], key=str(n)) for n in range(18)]
    runs[place] = an_example([*(a_message(rng) for _ in range(rng.randrange(9))), message], key="odd", goal="é" * 9)
    found = bodies.table_of(runs)
    found.validate(full=True)
    order = [*range(place), *range(place + 1, 18), place]
    assert found.combine_chunks().to_pylist() == bodies.slowly([runs[n] for n in order]).to_pylist()


def test_a_hold_gives_back_all_that_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "ROWS", 7)
    rng = random.Random(1)
    runs = [an_example([a_message(rng)], key=str(n)) for n in range(30)]
    hold = bodies.Bodies()
    assert hold.tables == []
    for start in range(0, 30, 4):
        hold.add(runs[start : start + 4])
    whole = pa.concat_tables(hold.tables)
    assert [len(table) for table in hold.tables] == [8, 8, 8, 6]
    assert whole.schema == BODY
    assert whole.combine_chunks().equals(bodies.slowly(runs))


@pytest.mark.parametrize("name", ["role", "tool_call_id", "name"])
def test_what_is_no_text_is_refused_by_both(name: str) -> None:
    for made in (bodies.table_of, bodies.slowly):
        with pytest.raises(TypeError):
            made([an_example([{"role": "user", "content": "x", name: 5}])])


def test_half_a_character_is_refused_by_both() -> None:
    for made in (bodies.table_of, bodies.slowly):
        with pytest.raises(UnicodeEncodeError):
            made([an_example([{"role": "user", "content": "\ud83d"}])])
