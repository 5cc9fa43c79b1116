"""Sketches: stable for ever, true to the Jaccard index, and of what the agent did alone."""

import hashlib
import random

import numpy as np
import pytest

from l07.domain.bands import CROWD, Bands, as_array
from l07.domain.duplicates import Sketcher, action_text, estimate, jaccard
from l07.domain.scheme import BANDS, PERMUTATIONS, ROWS, SCHEME
from tests.curation import a_conversation, edited, words


def sketch_of(text: str) -> bytes:
    sketcher = Sketcher()
    return sketcher.sketch(sketcher.shingles(text))


def test_a_sketch_is_the_same_for_ever() -> None:
    found = sketch_of("the quick brown fox jumps over the lazy dog and runs away from the barking dogs")
    assert hashlib.sha256(found).hexdigest() == "10e6807d02f8484fcc008b4a543e00b7ea1139c95e7fd9be2a10bb3b0531ff47"
    assert len(found) == 4 * PERMUTATIONS == 4 * BANDS * ROWS == 512


def test_the_scheme_says_how_it_was_made() -> None:
    assert SCHEME == {
        "scheme": "minhash-multiply-shift-64", "seed": 1, "version": 1, "permutations": 128, "bands": 32, "shingle_words": 5,
    }  # fmt: skip


def test_what_was_sketched_before_does_not_show() -> None:
    used = Sketcher()
    used.sketch(used.shingles("something else entirely was here before"))
    assert used.sketch(used.shingles("a b c d e f g")) == sketch_of("a b c d e f g")


def a_band(*sketches: bytes, first: int = 0) -> Bands:
    return Bands.of(np.arange(first, first + len(sketches), dtype=np.uint32), as_array(sketches))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1, 0.3])
def test_an_estimate_is_near_the_exact_index(share: float) -> None:
    rng = random.Random(5)
    sketcher, errors = Sketcher(), []
    for _ in range(30):
        text = words(rng, 150)
        one, other = sketcher.shingles(text), sketcher.shingles(edited(rng, text, share))
        errors.append(estimate(sketcher.sketch(one), sketcher.sketch(other)) - jaccard(one, other))
    assert abs(float(np.mean(errors))) < 0.03  # three standard errors of 30 sketches
    assert max(map(abs, errors)) < 0.2


def test_the_bands_find_almost_every_pair_at_0_8() -> None:
    rng = random.Random(1)
    sketcher, found, pairs = Sketcher(), 0, 0
    for _ in range(300):
        text = words(rng, 200)
        one, other = sketcher.shingles(text), sketcher.shingles(edited(rng, text, 0.02))
        if jaccard(one, other) >= 0.8:
            found += len(a_band(sketcher.sketch(one)).meets(a_band(sketcher.sketch(other)))[0])
            pairs += 1
    assert found == pairs > 100


def test_many_at_once_have_the_shingles_that_each_has_alone() -> None:
    rng = random.Random(4)
    texts = ["", "one", "two words", "a b c d e", "x x x x x x x x", *(words(rng, n) for n in range(60))]
    together = Sketcher().shingles_of(texts)
    assert [one.tolist() for one in together] == [Sketcher().shingles(text).tolist() for text in texts]
    assert all((np.unique(one) == one).all() for one in together)
    assert Sketcher().shingles_of([]) == []


def test_the_hashes_of_bands_are_the_same_for_ever() -> None:
    """Versions hold them."""
    lines = np.arange(3000 * 128, dtype=np.uint32).reshape(3000, 128) * np.uint32(2654435761)
    found = Bands.of(np.arange(3000, dtype=np.uint32), lines)
    assert (
        hashlib.sha256(found.hashes.tobytes() + found.order.tobytes()).hexdigest()
        == "e0c92a61bb11276afa09444a6a2d2f4bc6f0866f194f9c37718ef9b1b4c3b7ed"
    )


def test_strangers_do_not_meet() -> None:
    rng = random.Random(2)
    bands = a_band(*(sketch_of(words(rng, 100)) for _ in range(200)))
    assert len(bands.meets(a_band(sketch_of(words(rng, 100))))[0]) == 0


def test_every_two_that_share_a_band_meet_once_and_parts_give_what_the_whole_gives() -> None:
    rng = random.Random(3)
    texts = [words(rng, 60) for _ in range(40)]
    sketches = [sketch_of(edited(rng, rng.choice(texts), rng.choice((0.0, 0.05, 0.2)))) for _ in range(300)]
    lines = as_array(sketches).reshape(300, 32, 4)
    expected = {(a, b) for a in range(300) for b in range(300) if (lines[a] == lines[b]).all(axis=1).any()}
    whole = a_band(*sketches)
    assert set(zip(*(side.tolist() for side in whole.meets(whole)), strict=True)) == expected
    assert [*zip(*(side.tolist() for side in whole.meets(whole, earlier=True)), strict=True)] == sorted(
        (a, b) for a, b in expected if b < a
    )
    parts = [a_band(*sketches[:90]), a_band(*sketches[90:], first=90)]
    hashes, order = Bands.joined_order(parts)
    assert (hashes == whole.hashes).all()
    assert (order == whole.order).all()
    assert parts[1].places(np.array([89, 90, 299, 300])).tolist() == [-1, 0, 209, -1]


def test_of_a_flood_of_copies_each_meets_the_oldest_alone() -> None:
    flood = a_band(*[sketch_of("the same words again and again for ever")] * (CROWD + 50))
    one, other = flood.meets(flood)
    assert len(one) == (CROWD + 50) * CROWD
    assert other.max() == CROWD - 1
    every_two = {tuple(sorted(pair)) for pair in zip(one.tolist(), other.tolist(), strict=True) if pair[0] != pair[1]}
    assert {
        (b, a) for a, b in zip(*(side.tolist() for side in flood.meets(flood, earlier=True)), strict=True)
    } == every_two


def test_prompts_tool_lists_and_tool_outputs_are_not_sketched() -> None:
    talk = a_conversation("the goal", "a deed")
    loud = [
        {"role": "system", "content": "long rules " * 50},
        *({**m, "content": "long output " * 50} if m["role"] == "tool" else m for m in talk),
    ]
    assert action_text("the goal", loud) == action_text("the goal", talk)
    assert "a deed" in action_text("the goal", talk)


def test_another_argument_is_another_deed() -> None:
    one, other = (action_text("g", a_conversation("g", text)) for text in ("sweep", "dust"))
    assert one != other


@pytest.mark.parametrize("text", ["", "one", "one two three four"])
def test_a_short_text_is_one_shingle(text: str) -> None:
    assert len(Sketcher().shingles(text)) == 1


def test_equal_texts_are_1_and_strangers_0() -> None:
    sketcher = Sketcher()
    one, other = sketcher.shingles("a b c d e f"), sketcher.shingles("u v w x y z")
    assert (jaccard(one, one), jaccard(one, other)) == (1.0, 0.0)
