"""What is compiled reads a run as the Python beside it does, and leaves to it what is not as decoders make it."""

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from l07.domain.doubt import CONSISTENCY, trail
from l07.domain.doubt.trail import MOST_STEPS, read_slowly
from l07.domain.doubt.words import MOST_CHARACTERS, NOT_ASKED, WORDS
from tests.doubt import called, returned
from tests.unit.domain.test_runs import SPOILT, Run, a_message, a_run, outcome

needed = pytest.mark.skipif(
    trail.skim is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
LETTERS = "ab_9Z .,\n\x00\x1f\x85\xe9\u2028\u4e2d"
TOOLS = ["get", "execute_sql", "Pay-Order", "\xe9\xc9_x", "a" * 140, "", "none", "_", "sql query"]


def compiled(messages: Sequence[Run], goal: str) -> Any:
    return trail.skim.read(messages, goal, WORDS, trail._ERRORS, trail._shape, MOST_STEPS, MOST_CHARACTERS)


def a_text(rng: random.Random, letters: str = LETTERS) -> str:
    return "".join(rng.choices(letters, k=rng.choice((0, 1, 3, 30, 300, 2500))))


def a_call(rng: random.Random) -> Run:
    """A few of them are equal; most of one free text."""
    tool = rng.choice(TOOLS)
    words = [
        rng.choice(("get", "SELECT", "select", "sql", "pay", "order", "9", ",", "\xc9", "\u4e2d")) for _ in range(9)
    ]
    text = rng.choice((" ".join(words), "", " ", "word", a_text(rng)))
    some: list[Any] = [{"q": text}, {"q": text, "n": 1}, {}, {"q": [text, 1.5, None]}, text, None, {"q": 7}, "ls"]
    return {"id": rng.choice(("1", "2", "3", None)), "function": {"name": tool, "arguments": rng.choice(some)}}


def a_trail(rng: random.Random) -> list[Run]:
    messages: list[Run] = [{"role": "user", "content": a_text(rng)}]
    for _ in range(rng.choice((0, 1, 2, 5, 30))):
        calls = [a_call(rng) for _ in range(rng.randrange(4))]
        messages.append({"role": "assistant", "content": rng.choice((None, "", a_text(rng))), "tool_calls": calls})
        for _ in range(rng.randrange(len(calls) + 2)):
            content = rng.choice(
                ("", None, "Error: x", "  ", "same", a_text(rng), a_text(rng, "aaZ09 \n\x0b\x0c\x1f.,{}eror"))
            )
            messages.append({"role": "tool", "content": content, "tool_call_id": rng.choice(("1", "2", "9", None))})
    return messages + [{"role": "assistant", "content": a_text(rng)}] * rng.randrange(2)


@needed
@pytest.mark.parametrize("seed", range(30))
def test_a_run_is_read_as_the_python_beside_it_reads_it(seed: int) -> None:
    rng = random.Random(seed)
    for messages, goal in [(a_trail(rng), a_text(rng)) for _ in range(12)]:
        found = compiled(messages, goal)
        assert found == tuple(read_slowly(messages, goal))
        assert compiled(tuple(messages), goal) == found


@needed
@pytest.mark.parametrize("seed", range(30))
def test_so_is_a_run_of_any_texts_and_arguments(seed: int) -> None:
    rng = random.Random(seed)
    for run in [a_run(rng) for _ in range(10)]:
        assert compiled(run, "a Goal \xe9") == tuple(read_slowly(run, "a Goal \xe9"))


@needed
@pytest.mark.parametrize("number", range(len(SPOILT)))
def test_of_any_other_run_it_says_the_same_or_nothing(number: int) -> None:
    rng = random.Random(number)
    for _ in range(20):
        run = (*a_run(rng), a_message(rng))
        SPOILT[number](rng, rng.choice(run))
        found = compiled(run, "goal")
        assert found is None or found == outcome(read_slowly, run, "goal")


@needed
def test_what_is_no_run_of_messages_is_left_alone() -> None:
    call = called("a", "1")
    for spoilt in (
        iter([call]), ["text"], [call, {"role": 7}], [{"role": "assistant", "tool_calls": {"a": 1}}], [call, returned("a", "1", "x") | {"tool_call_id": 1}],
        [call, returned("a", "1", "\ud800")], [{"role": "assistant", "content": "\ud800"}],
    ):  # fmt: skip
        assert compiled(spoilt, "goal") is None  # type: ignore[arg-type]
    assert compiled([call], "\ud800") is None
    with pytest.raises(ValueError, match="3 bytes"):
        trail.skim.read([call], "", b"abc", (), trail._shape, MOST_STEPS, MOST_CHARACTERS)


@needed
def test_a_run_of_many_words_and_steps_is_the_same_too() -> None:
    rng = random.Random(1)
    texts = [" ".join(f"w{rng.randrange(3000)}" for _ in range(400)) for _ in range(200)]
    messages = [
        m for text in texts for m in (called("get", "1", q=text), returned("get", "1", texts[rng.randrange(9)]))
    ]
    found = compiled(messages, texts[0])
    assert found == tuple(read_slowly(messages, texts[0]))
    assert len(found[1]) == 8 + 16 * MOST_STEPS


@needed
def test_only_the_beginning_is_read_in_characters_not_in_bytes() -> None:
    for letter in ("x", "\xe9", "\u4e2d", "\U0001f600"):
        known = []
        for size in (
            MOST_CHARACTERS - 6,
            MOST_CHARACTERS - 5,
            MOST_CHARACTERS - 4,
            MOST_CHARACTERS - 1,
            MOST_CHARACTERS,
        ):
            messages = [
                called("get", "1", q=1),
                returned("get", "1", letter * size + " anna"),
                {"role": "assistant", "content": "Anna"},
            ]
            found = compiled(messages, "")
            assert found == tuple(read_slowly(messages, ""))
            known.append(found[0][CONSISTENCY.index("answer_known")])
        assert known == [1.0, 1.0, 0.0, 0.0, 0.0]


@needed
def test_a_value_is_rounded_as_python_rounds_it() -> None:
    for words in range(1, 60):
        answer = " ".join(f"w{n}" for n in range(words))
        for same in (0, 1, words // 3, words):
            output = " ".join(f"w{n}" for n in range(same))
            messages = [called("get", "1", q=1), returned("get", "1", output), {"role": "assistant", "content": answer}]
            assert compiled(messages, "") == tuple(read_slowly(messages, ""))
    assert compiled([], "")[0][0] == NOT_ASKED
