"""What is compiled measures and writes runs as the Python beside it does, and leaves to it what is not as decoders make it.

By hand, a million runs from seed 7; prints those that differ: python -m tests.unit.domain.test_runs 1000000 7
"""

import os
import random
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from l07.domain import digests, example, quality
from l07.domain.example import measure
from l07.domain.injection import inspection

needed = pytest.mark.skipif(
    example.runs is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
Run = dict[str, Any]
CODES = "".join(map(chr, range(128)))
PIECES = [
    "", " ", "\n", "\t \r\n\x0b\x0c\x1c\x85\u3000", "Error: ", "error", "ERRORS", "_error", "xfailed", "Failed.", "not  found",
    "NOT FOUND", "not\x00found", "Unknown Column", "traceback", "denied", "inval\u0131d", "trac\u212aback", "trac\u00e9 error",
    "\u00e9error\u00e9", "den\u0130ed", "\u017f", "invalid\u00e4", "ok", "0", "\\", '"', "{}", "\u20ac \u2028 \ufeff", "\U0001f600 \u0301",
    "\u0663\u00b2\u2167", "SELECT a FROM b", CODES, "x" * 1990, "y" * 40, "\u4e2d" * 700, "word " * 300, "a,b\n" * 120,
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 7, 2**63 - 1, -(2**63), 1.0, -0.0, 0.1, 2.5, -3.0, 1e14, 1e-7, 12345.678, 999999999999999.0, [], {}, "",
]  # fmt: skip
ODD_VALUES = [
    2**64,
    -(2**63) - 1,
    1e15,
    -1e300,
    float("nan"),
    float("inf"),
    (1, 2),
    {n: n for n in map(str, range(70))},
]


def a_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.choice((0, 1, 1, 2, 5))))


def a_value(rng: random.Random, levels: int = 3) -> Any:
    kind = rng.randrange(6 if levels else 4)
    if kind == 4:
        return [a_value(rng, levels - 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {a_text(rng)[:9]: a_value(rng, levels - 1) for _ in range(rng.randrange(9))}
    return rng.choice(VALUES) if kind else a_text(rng)


def a_call(rng: random.Random) -> Run:
    arguments = {rng.choice(("sql", "path", "\u00e4", "n")): a_value(rng) for _ in range(rng.randrange(3))}
    function = {"name": rng.choice(("a", "b", "execute_sql", "\u00e9")), "arguments": arguments}
    return {"id": f"call_{rng.randrange(9)}", "type": "function", "function": function}


def a_message(rng: random.Random) -> Run:
    role = rng.choice(("system", "user", "assistant", "assistant", "tool", "tool"))
    message: Run = {"role": role, "content": a_text(rng)}
    if role == "tool":
        message |= {"tool_call_id": "call_1", "name": "a"}
    elif role == "assistant" and rng.random() < 0.7:
        calls = [a_call(rng) for _ in range(rng.randrange(4))]
        message["tool_calls"] = calls + calls[-1:] * rng.randrange(3)
    return message


def a_run(rng: random.Random) -> tuple[Run, ...]:
    return tuple(a_message(rng) for _ in range(rng.randrange(8)))


SPOILT: list[Callable[[random.Random, Run], Any]] = [
    lambda rng, message: message.update(content=[{"type": "text", "text": "a"}]),
    lambda rng, message: message.update(content=None),
    lambda rng, message: message.pop("content"),
    lambda rng, message: message.pop("role"),
    lambda rng, message: message.update(role=None, name=3),
    lambda rng, message: message.update(content="\ud800 lone"),
    lambda rng, message: message.update(tool_calls=({"function": {"name": "a", "arguments": {"n": 1.0}}},)),
    lambda rng, message: message.update(tool_calls=[{"function": {"name": "a", "arguments": '{"n": 1.0}'}}]),
    lambda rng, message: message.update(tool_calls=[{"function": {"name": "a"}}, {"function": {"arguments": [1]}}]),
    lambda rng, message: message.update(tool_calls=[{"function": {"name": 7, "arguments": {}}}, {"function": "b"}]),
    lambda rng, message: message.update(tool_calls=[{"function": {"name": "a", "arguments": {1: 2}}}]),
    lambda rng, message: message.update(
        tool_calls=[{"function": {"name": "a", "arguments": {"n": rng.choice(ODD_VALUES)}}}]
    ),
    lambda rng, message: message.update(
        tool_calls=[{"function": {"name": "a", "arguments": deep(rng.randrange(120))}}]
    ),
]


def deep(levels: int) -> dict[str, Any]:
    found: Any = 1.0
    for _ in range(levels):
        found = [found]
    return {"n": found}


def outcome(ask: Callable[..., Any], *args: Any) -> Any:
    """What it answers, or how it fails."""
    try:
        return ask(*args)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as err:
        return type(err)


def differences(run: tuple[Run, ...], *, sure: bool) -> list[str]:
    """Where the two part; where the compiled one is not `sure`, it need not answer."""
    body = ("\u00e4 goal", run, ({"type": "function", "function": {"name": "a"}},), "success", "t", "a")
    pairs = [
        ("measure", example.runs.measure(run, body[0], example._ERROR.search), (example.measured, run, body[0])),
        ("documents", digests.runs.documents(body, run), (digests.documents, body, run)),
    ]
    return [
        *unlike(run),
        *(
            f"said by {role}: {found!r} of {run!r}"
            for role in ("tool", "user")
            if (found := example.runs.said_by(run, role)) is not None and found != inspection.contents(run, role)
        ),
        *(
            f"{name} {found!r} of {run!r}"
            for name, found, asked in pairs
            if (sure or found is not None) and found != outcome(*asked)
        ),
    ]


TOOLS: list[tuple[Any, ...]] = [
    (), ({"function": {"name": "a"}},), ({"name": "b"}, {"function": {"name": "execute_sql"}}), ({"name": None},), ("a",), ({"function": 7},),
]  # fmt: skip


def unlike(run: tuple[Run, ...]) -> list[str]:
    """Where completeness parts."""
    found = [(tools, example.runs.broken(run, tools)) for tools in TOOLS]
    return [
        f"broken {bits} of {run!r} with {tools!r}"
        for tools, bits in found
        if bits >= 0 and bits != outcome(quality.broken, run, tools)
    ]


@needed
def test_what_decoders_make_is_judged_without_python() -> None:
    rng = random.Random(5)
    seen = {example.runs.broken(a_run(rng), tools) for _ in range(200) for tools in TOOLS[:3]}
    assert {0, 1, 4, 5, 8, 12} <= seen
    assert (
        example.runs.broken([{"role": "assistant", "tool_calls": [{"function": {"name": "", "arguments": {}}}]}], ())
        == -1
    )
    assert example.runs.broken([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}], ()) == -1


@needed
@pytest.mark.parametrize("seed", range(60))
def test_says_of_a_decoded_run_what_the_python_beside_it_says(seed: int) -> None:
    rng = random.Random(seed)
    assert [found for _ in range(10) for found in differences(a_run(rng), sure=True)] == []


@needed
@pytest.mark.parametrize("number", range(len(SPOILT)))
def test_of_any_other_run_it_says_the_same_or_nothing(number: int) -> None:
    rng = random.Random(number)
    for _ in range(20):
        run = (*a_run(rng), a_message(rng))
        SPOILT[number](rng, rng.choice(run))
        assert differences(run, sure=False) == []


@needed
@pytest.mark.parametrize("word", example._ERROR_WORDS)
def test_a_word_of_error_counts_as_a_word_only(word: str) -> None:
    for before in ("", " ", "a", "_", "7", "-", "\u00e9", "\u3000"):
        for behind in ("", " ", "s", "_", "7", ".", "\u00e9", "\n"):
            for text in (word, word.upper(), word.title()):
                run = ({"role": "tool", "content": f"{before}{text}{behind}"},)
                assert differences(run, sure=True) == []


@needed
@pytest.mark.parametrize("letter", ["x", "\u00e9"])
def test_an_error_is_looked_for_in_the_beginning_of_an_output(letter: str) -> None:
    found = set()
    for size in (*range(1985, 2002), 5000):
        run = ({"role": "tool", "content": f"{letter * size} failed {letter}"},)
        assert differences(run, sure=True) == []
        found.add(measure(run, "")["error_output_share"])
    assert found == {0.0, 1.0}


@needed
def test_each_character_counts_as_odd_or_not_as_the_expression_says() -> None:
    for start in range(0, 0x30000, 64):
        text = "".join(chr(code) for code in range(start, start + 64) if not 0xD800 <= code < 0xE000)
        assert differences(({"role": "user", "content": text},), sure=True) == []


def a_long_text(rng: random.Random) -> bytes:
    """Of many kinds: even and uneven letters, repeats near and far, runs, codes longer than DEFLATE allows; and sizes at
    which a block ends."""
    size = rng.choice((rng.randrange(40), rng.randrange(3000), rng.randrange(34000), 16383, 16384, 31999, 32000, 32001))
    kind = rng.randrange(7)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return (rng.randbytes(rng.randrange(1, 400)) * (size + 1))[:size]
    if kind == 2:
        return b"".join(bytes([rng.randrange(256)]) * rng.randrange(1, 700) for _ in range(size // 300))
    if kind == 3:
        counts = [1, 1]
        while len(counts) < 21:
            counts.append(counts[-1] + counts[-2])
        letters = [letter for letter, count in enumerate(counts) for _ in range(count)]
        rng.shuffle(letters)
        return bytes(letters)[: rng.choice((11000, 16383, 28000))]
    if kind == 4:
        words = [rng.randbytes(rng.randrange(2, 12)) for _ in range(rng.randrange(2, 300))]
        return b" ".join(rng.choices(words, k=size // 7))
    weights = [rng.random() ** 6 + 1e-9 for _ in range(rng.randrange(1, 256))]
    return bytes(rng.choices(range(len(weights)), weights=weights, k=size))


@needed
@pytest.mark.parametrize("seed", range(20))
def test_a_text_is_as_long_as_zlib_would_make_it(seed: int) -> None:
    rng = random.Random(seed)
    for text in (a_long_text(rng) for _ in range(12)):
        assert example.runs.compressed(text) == len(zlib.compress(text, 1))


@needed
@pytest.mark.parametrize("size", [16382, 16383, 16384, 20000])
def test_a_block_ends_after_as_many_symbols_as_zlib_s(size: int) -> None:
    rng = random.Random(size)
    text, seen = bytearray(b"ab"), set()
    while len(text) < size:  # no three letters twice: each letter is a symbol
        three = bytes((*text[-2:], rng.randrange(48)))
        if three not in seen:
            seen.add(three)
            text.append(three[2])
    assert example.runs.compressed(bytes(text)) == len(zlib.compress(text, 1))


@needed
@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="another zlib, which is asked instead")
def test_zlib_itself_need_not_be_asked() -> None:
    assert example.runs.AGREED


@needed
def test_the_compiled_one_is_used() -> None:
    run = a_run(random.Random(3))
    assert tuple(measure(run, "goal").values()) == example.runs.measure(run, "goal", example._ERROR.search)


@needed
@pytest.mark.parametrize("messages", [None, "text", [None], [[]], ["text"], {"role": "user"}])
def test_what_is_no_run_is_left_to_the_other(messages: Any) -> None:
    assert example.runs.measure(messages, "", example._ERROR.search) is None
    assert digests.runs.documents((), messages) is None
    assert example.runs.said_by(messages, "user") is None


@needed
def test_more_messages_or_calls_than_there_is_room_for_are_left_to_the_other() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "a", "arguments": {"n": 1.0}}}
    full = ({"role": "assistant", "content": "", "tool_calls": [call] * 256}, *[{"role": "user", "content": "a"}] * 255)
    assert not differences(full, sure=True)
    for run in ((*full, full[1]), ({**full[0], "tool_calls": [call] * 257},)):
        assert digests.runs.documents(("a", run), run) is None


if __name__ == "__main__":
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    for number in range(count):
        run = a_run(rng)
        spoil = bool(run) and rng.random() < 0.3
        if spoil:
            rng.choice(SPOILT)(rng, rng.choice(run))
        for text in differences(run, sure=not spoil):
            sys.stdout.write(f"{number}: {text}\n")
