"""Tombstones: marks and no names, of the key that made them."""

from typing import Any, NamedTuple

import pytest

from l07.domain.erasure import AGAIN, DONE, LOOKED, ORDERED, WIDENED, fold, is_member_erased, order_of
from l07.domain.marks import KEY, SOURCE, SUBJECT, Marks
from l07.errors import SecretMissing

MARKS = Marks(b"k" * 32)


class Line(NamedTuple):
    number: int
    kind: str
    key: str
    body: dict[str, Any]
    at: str = "2026-01-05T09:00:00Z"


def entries(*lines: tuple[str, str, dict[str, Any]]) -> list[Line]:
    return [Line(number, *line) for number, line in enumerate(lines, 1)]


def an_order(kind: str, name: str) -> tuple[str, str, dict[str, Any]]:
    key, body = order_of(MARKS, kind, [name], reason="ticket 17", by="ann")
    return ORDERED, key, body


def test_an_order_names_nobody() -> None:
    _, key, body = an_order(SUBJECT, "lucia")
    assert "lucia" not in key + repr(body)
    assert fold(entries(an_order(SUBJECT, "lucia")), MARKS).tombstones.stands_for(SUBJECT, "lucia")


def test_a_tombstone_stands_for_its_kind_alone() -> None:
    stones = fold(entries(an_order(KEY, "execution:1")), MARKS).tombstones
    assert stones
    assert not stones.by_content
    assert stones.stands_for(KEY, "execution:1")
    assert not any(stones.stands_for(*what) for what in ((SUBJECT, "execution:1"), (KEY, "execution:2")))
    assert not fold([], None).tombstones


def test_what_belongs_to_it_is_added_and_who_has_done_it_says_so() -> None:
    first = an_order(SUBJECT, "lucia")
    wider = (WIDENED, "w", {"of": first[1], "marks": {KEY: [MARKS.of(KEY, "execution:9")]}})
    done = (DONE, "d", {"of": first[1], "asked": 1})
    state = fold(entries(first, wider, done), MARKS)
    assert state.tombstones.stands_for(KEY, "execution:9")
    assert (state.open, state.tombstones.number, state.read) == ([], 2, 3)
    [order] = fold(entries(first, wider), MARKS).open
    assert (order.by, order.reason) == ("ann", "ticket 17")


def test_asked_for_again_it_is_open_until_it_is_done_again() -> None:
    first = an_order(KEY, "execution:1")
    lines = [first, (DONE, "d1", {"of": first[1], "asked": 1}), (AGAIN, "a", {"of": first[1]})]
    assert [order.asked for order in fold(entries(*lines), MARKS).open] == [3]
    assert fold(entries(*lines, (DONE, "late", {"of": first[1], "asked": 1})), MARKS).open, "done before it was asked"
    assert not fold(entries(*lines, (DONE, "d2", {"of": first[1], "asked": 3})), MARKS).open


def test_how_far_the_datasets_were_looked_into_is_the_last_word() -> None:
    looks = [(LOOKED, str(n), {"datasets": n, "tombstones": 1}) for n in (4, 7)]
    assert fold(entries(an_order(KEY, "x"), *looks), MARKS).looked_at == (7, 1)


@pytest.mark.parametrize(("marks", "what"), [(None, "gone"), (Marks(b"x" * 32), "another one")])
def test_without_the_key_that_made_them_nobody_goes_on(marks: Marks | None, what: str) -> None:
    with pytest.raises(SecretMissing, match=f"E7121.*{what}"):
        fold(entries(an_order(KEY, "execution:1")), marks)


def test_a_member_is_known_by_his_key_his_source_or_the_mark_of_his_subject() -> None:
    stones = fold(entries(an_order(KEY, "k"), an_order(SUBJECT, "lucia"), an_order(SOURCE, "/bad")), MARKS).tombstones
    assert is_member_erased("k", "", "", stones)
    assert is_member_erased("x", MARKS.of(SUBJECT, "lucia"), "", stones)
    assert is_member_erased("x", "", "/bad", stones)
    assert not is_member_erased("x", "lucia", "/good", stones)
