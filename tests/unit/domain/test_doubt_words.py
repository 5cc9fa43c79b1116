"""How far texts share their words: by hand, and what is compiled against the Python beside it."""

import os
import random

import pytest

from l07.domain.doubt import trail, words
from l07.domain.doubt.words import MOST_CHARACTERS, NOT_ASKED, overlaps, slowly

needed = pytest.mark.skipif(
    words.skim is None and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)
LETTERS = "ab_9Z .,\n\x00\x1f\x85\xe9\u2028\ud800\u4e2d"


def a_text(rng: random.Random, letters: str = LETTERS) -> str:
    return "".join(rng.choices(letters, k=rng.choice((0, 1, 3, 30, 2500))))


@needed
@pytest.mark.parametrize("seed", range(4))
def test_what_is_compiled_finds_the_same_shares(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        calls = rng.randint(0, 5)
        run = [a_text(rng) for _ in range(calls)], [a_text(rng) for _ in range(calls)], a_text(rng), a_text(rng)
        assert overlaps(*run) == slowly(*run), run


@needed
def test_a_run_of_many_words_is_the_same_too() -> None:
    rng = random.Random(1)
    texts = [" ".join(f"w{rng.randrange(3000)}" for _ in range(400)) for _ in range(42)]
    assert overlaps(texts[:20], texts[20:40], *texts[40:]) == slowly(texts[:20], texts[20:40], *texts[40:])


@needed
def test_what_is_compiled_sees_the_same_shapes() -> None:
    rng = random.Random(2)
    told = 0
    for _ in range(2000):
        output = a_text(rng, "aaZ09 \n\x0b\x0c\x1f.,{}eror\x00") + rng.choice(("", "Error", "\xe9", " not Found"))
        found = words.skim_shape(output, trail._ERRORS)
        told += found is not None
        assert found in (None, trail._shape(output)), output
    assert told > 500


def test_shares_by_hand() -> None:
    known, last, own, use, met = overlaps(
        ["find anna", "pay order_7"], ["anna has order_7", "paid order_7"], "pay for anna", "i paid order_7 gladly"
    )
    assert known == 2 / 4  # of i, paid, order_7, gladly
    assert last == 2 / 4
    assert own == pytest.approx(((1 - 0) / 2 + (1 - 1) / 2) / 2)
    assert use == 1.0
    assert met == pytest.approx(2 / 3)


def test_a_share_of_nothing_is_not_asked() -> None:
    assert overlaps([], [], "", "") == (NOT_ASKED,) * 5


def test_case_does_not_count_and_only_the_beginning_is_read() -> None:
    late = " " * MOST_CHARACTERS + "anna"
    assert overlaps(["x"], ["ANNA"], "", "Anna")[0] == 1.0
    assert overlaps(["x"], [late], "", "Anna")[0] == 0.0
