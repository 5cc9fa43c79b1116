"""How far texts share their words, by hand."""

import pytest

from l07.domain.doubt.words import MOST_CHARACTERS, NOT_ASKED, overlaps


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
