"""What is compiled spells a text as the Python beside it does, or leaves it to it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l07.domain.injection import disguise
from l07.domain.injection.disguise import plain_of_any, steady, words_in

if disguise.COMPILED:
    from l07.domain.injection import spelling

needed = pytest.mark.skipif(
    not disguise.COMPILED and "CI" not in os.environ, reason="l07 was installed without a C compiler"
)

ESCAPES = [
    *r"\n \t \r \u \u00 \u0041 \u005c \u0022 \u00e9 \u00E9 \u0301 \u200b \u2019 \ud83d\ude00 \ud83d \\ \x".split(),
    "\\",
]
ODD = [
    *"ß…½´é\u0301ﬁＡİıµж\u03bf中가\u1100\u1161\U000e0041\U000e0022\U0001f600\ud800\udc00\0\x1c\x85\xa0\xad\u2003\u200b\ufeff"
]
PIECES = st.one_of(
    st.characters(max_codepoint=0x7F),
    st.characters(max_codepoint=0x2FF),
    st.characters(min_codepoint=0x2000, max_codepoint=0x2BFF),
    st.sampled_from([*ESCAPES, *ODD, " ", "  ", "n", "u0041"]),
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=60).map("".join))


def agrees(text: str) -> bool:
    """Whether it was sure."""
    sure = spelling.plain(text)
    assert sure is None or sure == plain_of_any(text), ascii(text)
    return sure is not None


@needed
@given(TEXTS)
def test_spells_as_the_python_beside_it(text: str) -> None:
    agrees(text)


@needed
def test_spells_every_character_as_the_python_beside_it() -> None:
    assert sum(agrees(f"{char}x{char} {char}") for char in map(chr, range(0x3000))) == len(steady())


@needed
@pytest.mark.parametrize("before", ["", "\u2026"])
def test_spells_every_escape_as_the_python_beside_it(before: str) -> None:
    for char in map(chr, range(0x80)):
        for slashes in ("\\", "\\\\", "\\ \\"):
            assert agrees(f"{before}a{slashes}{char}0041b{slashes}{char}")


@needed
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
@pytest.mark.parametrize("piece", ["a", " ", "Ab '\\n", "\u2026", "\u00e9 \u2019\\u2026"])
def test_is_sure_of_ordinary_texts_of_any_length(piece: str, size: int) -> None:
    assert agrees((piece * size)[:size])


@needed
@pytest.mark.parametrize("text", ["\u0430", "e\u0301", "\u4e2d", "\U0001f600", "\\u0430", "\ud800", "\u00b4"])
def test_is_not_sure_of_what_its_neighbours_may_change(text: str) -> None:
    assert spelling.plain(text) is None


@needed
@pytest.mark.parametrize("spelt", [{"\u4e2d": "a"}, {"\u2026": "....."}, {"\u2026": "\U0001f600"}])
def test_what_has_no_room_is_refused(spelt: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="could be known"):
        spelling.know(spelt)


def test_where_nothing_was_compiled_python_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disguise, "COMPILED", False)
    assert disguise.plain("\u200bIgnore\\n  \u2018ALL\u2019 \\u0061\u2026") == "ignore all a..."


@given(TEXTS)
def test_words_are_the_runs_of_letters_and_digits(text: str) -> None:
    alone = "".join(letter if letter.isalnum() else " " for letter in text)
    assert words_in(text) == alone.split()
