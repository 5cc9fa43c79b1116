"""What is compiled makes the same sketches as the Python beside it, of whatever a run may hold."""

import os
import random
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import xxhash

from l07.domain import bands, duplicates
from l07.domain.duplicates import Sketcher, action_text, jaccard

compiled = duplicates.compiled
pytestmark = pytest.mark.skipif(
    compiled is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
# Words of every length class of the hash, of characters with one to four bytes, marks that are no letters, lone surrogates
LETTERS = ("ab_9", "éßİſ", "日本ä", "😀𝔘x", "²½٣", "\ud800a", "\u0301e", "ªº")
BETWEEN = (" ", "\n", "-", "\u00a0", "'", "—", "\x00", ".", "\u200b")


def a_text(rng: random.Random, words: int) -> str:
    return "".join(
        "".join(
            rng.choices(rng.choice(LETTERS[: rng.choice((1, 8))]), k=rng.choice((1, 3, 4, 8, 9, 16, 17, 40, 130, 300)))
        )
        + rng.choice(BETWEEN)
        for _ in range(words)
    )


def both(monkeypatch: pytest.MonkeyPatch, of: Any) -> tuple[Any, Any]:
    one = of()
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "compiled", None)
        return one, of()


@pytest.mark.parametrize("size", [*range(129), 1000])
def test_a_word_has_the_hash_that_the_library_says(size: int) -> None:
    assert compiled is not None
    data = random.Random(size).randbytes(size)
    assert compiled.xxh3_64(data) == xxhash.xxh3_64_intdigest(data)


def test_every_character_is_of_a_word_or_between_words_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x".join(map(chr, range(start, start + 4096))) for start in range(0, 0x110000, 4096)]
    one, other = both(monkeypatch, lambda: [found.tolist() for found in Sketcher().shingles_of(texts)])
    assert one == other


@pytest.mark.parametrize("seed", range(30))
def test_the_same_shingles_sketches_and_likeness(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    texts = ["", " ", "one", "a b c d", "a b c d e", *(a_text(rng, rng.randrange(60)) for _ in range(20))]
    long = a_text(rng, 60)
    texts += [long[: len(long) // 2], long[len(long) // 3 :], long]

    def made() -> Any:
        shingles = Sketcher().shingles_of(texts)
        sketches = [Sketcher().sketch(one) for one in shingles]
        return [one.tolist() for one in shingles], sketches, [jaccard(shingles[-1], one) for one in shingles]

    one, other = both(monkeypatch, made)
    assert one == other
    assert len(set(one[1])) > 20
    assert len(set(one[2])) > 2


def test_of_nothing_and_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [np.array([], np.uint64), np.arange(5000, dtype=np.uint64) << np.uint64(50)]
    one, other = both(monkeypatch, lambda: [Sketcher().sketch(value) for value in values])
    assert one == other


def a_message(rng: random.Random) -> Any:
    name = rng.choice(("f", None, 3))
    arguments = rng.choice(({"b": [1, 2.5], "a": None}, "{}", None, [1], "é\ud83d"))
    function = rng.choice(({"name": name, "arguments": arguments}, {}, None, "f", MappingProxyType({"name": "g"})))
    call = rng.choice(
        ({"function": function}, {"function": function, "id": 1}, {}, MappingProxyType({"function": function}))
    )
    message = {
        "role": rng.choice(("assistant", "assistant", "user", None)),
        "content": rng.choice((None, "said", [{"type": "text", "text": "part"}], 5)),
        "tool_calls": rng.choice((None, [], [call], (call, call))),
    }
    kept = {name: value for name, value in message.items() if rng.random() < 0.9}
    return kept if rng.random() < 0.95 else MappingProxyType(kept)


@pytest.mark.parametrize("seed", range(40))
def test_the_same_shingles_of_what_was_done(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    goals = ["goal", "a Goal of More than five Words", "Ä goal \u0130 of ONE", "\ud83d half", ""]
    runs = [(rng.choice(goals), [a_message(rng) for _ in range(rng.randrange(6))]) for _ in range(50)]
    one, other = both(monkeypatch, lambda: [Sketcher().shingles_of_run(*run).tolist() for run in runs])
    assert one == other
    assert one == [Sketcher().shingles(action_text(*run)).tolist() for run in runs]


def test_every_ascii_letter_is_made_small_and_no_other_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(chr(code) + chr(code + 1) for code in range(127))
    one, other = both(monkeypatch, lambda: Sketcher().shingles_of_run(text, ()).tolist())
    assert one == other


def test_what_is_no_dict_is_left_to_python() -> None:
    assert compiled is not None
    for messages in (
        [MappingProxyType({"role": "user"})], [{"role": "assistant", "tool_calls": [{"function": {"name": 3}}]}], iter(()),
        [{"role": "assistant", "tool_calls": [{"function": "f"}]}], [{"role": "assistant", "content": "\ud83d"}],
    ):  # fmt: skip
        assert compiled.run_shingles("goal", messages, duplicates._PLACE) is None  # type: ignore[arg-type]
    assert compiled.run_shingles("goal", [{"role": "assistant", "content": "said"}], duplicates._PLACE) is not None


def test_the_same_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    one, other = (rng.integers(0, 3, (40, 128), dtype=np.uint32) for _ in range(2))
    mine, theirs = (rng.integers(0, 40, 200) for _ in range(2))
    found = bands.agreement(one, mine, other, theirs)
    monkeypatch.setattr(bands, "compiled", None)
    assert found.tolist() == bands.agreement(one, mine, other, theirs).tolist()
    assert len(set(found.tolist())) > 10
