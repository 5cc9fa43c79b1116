"""Scanners that users bring: found by name, their finds are personal data; a bad one is told by its name."""

from collections.abc import Iterator

import pytest

from l07.domain.scrub import Policy, scrub
from l07.errors import NoScanner

PLACE = f"{__name__}:"
NOT_A_FUNCTION = 3


def names(text: str) -> Iterator[tuple[int, int, str]]:
    """What a model of names would answer."""
    at = text.find("Paris Hilton")
    if at >= 0:
        yield at, at + len("Paris Hilton"), "person_name"


def beyond(text: str) -> list[tuple[int, int, str]]:
    return [(0, len(text) + 1, "person_name")]


def shouting(text: str) -> list[tuple[int, int, str]]:
    return [(0, 1, "Person Name")]


def with_scanner(name: str) -> Policy:
    return Policy(personal="scrub", scanners=(name,))


def test_what_a_scanner_finds_is_replaced_in_the_whole_row() -> None:
    clean = scrub("ask Paris Hilton", {"to": "Paris Hilton in Paris"}, policy=with_scanner(PLACE + "names"))
    assert clean.values == ("ask <person_name_1>", {"to": "<person_name_1> in Paris"})
    assert clean.personal == {"person_name": 1}


def test_what_a_scanner_finds_stays_where_it_is_the_task() -> None:
    policy = Policy(scanners=(PLACE + "names",))
    clean = scrub({"role": "tool", "content": "Paris Hilton"}, policy=policy, task=("ask Paris Hilton",))
    assert clean.values == ({"role": "tool", "content": "Paris Hilton"},)
    assert clean.kept == {"person_name": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_package.here:f", "no_such_package"), (PLACE + "missing", "missing"), ("no colon", "no colon"), ("", "''"),
        (PLACE + "NOT_A_FUNCTION", "is a int and no function"), (PLACE + "beyond", "a span is"), (PLACE + "shouting", "a span is"),
    ],
)  # fmt: skip
def test_a_scanner_that_cannot_be_used_is_named(name: str, said: str) -> None:
    with pytest.raises(NoScanner, match="E7107|" + said) as caught:
        scrub("text", policy=with_scanner(name))
    assert caught.value.code == "E7107"
    assert said in str(caught.value)


def test_a_scanner_is_not_called_where_personal_data_is_not_looked_for() -> None:
    assert scrub("Paris Hilton", policy=Policy(personal="off", scanners=("no_such_package.here:f",))).values == (
        "Paris Hilton",
    )
