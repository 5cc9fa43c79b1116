"""How a row goes through the scrub: each text for itself, once for as long as it is remembered, and in C what Python says."""

import os
import random
import re
from collections.abc import Sequence
from sys import getsizeof
from types import MappingProxyType
from typing import Any

import pytest
import re2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from l07.domain.gate import compiled, options
from l07.domain.plants.secrets import KINDS, plant
from l07.domain.remembered import ByteBoundCache, size_of
from l07.domain.scrub import Policy, Scrubbed, scrub, scrub_all
from l07.domain.scrub.checks import digits_of
from l07.domain.scrub.compiled import walk
from l07.domain.scrub.engine import Engine, engine
from l07.domain.scrub.personal import personal
from l07.domain.scrub.replacing import Word, by_pattern, replaced, replaced_one, replacer
from l07.domain.scrub.rules import Rule
from l07.domain.scrub.secrets import secrets
from l07.domain.scrub.tables import cells
from l07.domain.scrub.texts import closed, closed_by_parts, opened, opened_by_parts, recalled, texts_of, told, walked

RULES = (*secrets(), *personal())
needed = pytest.mark.skipif(walk is None and "CI" not in os.environ, reason="l07 was installed without a C compiler")
ALL = Policy(personal="scrub")
PIECES = [
    "", "\0", "_", "-", "a", "é", "\u202e", "\ud800", "\\n", "\\", "\n", "\x01", "\x01\n", "\t", ",", "|", "name;phone", "pass", "password", "=", ": ",
    "is ", "000-12-3456", "078-05-1120", "4111 1111 1111 1111", "4111", " 1111", "12", "anna@b.de", "@b.de", "k9f8s7d6a5x4", "curl -u me", ":secret99",
    "home_location ", "lat", " 52.5200, ", "13.4050", "identified with x", " by 'Ax9kkd83'", "DE89370400440532013000", "DE89 3704", "HA12", "+49 170 1234567",
    "06 12 34 56 78", "name: ", "Mia Li", "value", "--token", "-u", "phone", "4155552671", "x" * 1200, "1.2.3.4.", "91.198.174.192", "eyJ", "sudo -S",
]  # fmt: skip


def a_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randrange(5)))


def a_value(rng: random.Random, depth: int = 3) -> Any:
    shape = rng.randrange(8 if depth else 4)
    if shape == 0:
        return rng.choice((None, True, 2.5, 3, 4155552671, -123456, 10**30, float("nan"), b"x", object))
    if shape < 5:
        return a_text(rng)
    items = [a_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if shape == 5:
        return items
    if shape == 6:
        return tuple(items)
    names = [rng.choice(("name", "key", "value", 7, None, a_text(rng), a_text(rng))) for _ in items]
    made = dict(zip(names, items, strict=True))
    return MappingProxyType(made) if rng.random() < 0.2 else made


def planted() -> list[str]:
    contents = [plant(kind, random.Random(f"{kind}/{seed}")).content for kind in KINDS for seed in range(3)]
    return [text for content in contents for text in texts_of((content,))]


@pytest.fixture(scope="module")
def forgetful() -> Engine:
    return Engine(RULES, remembered=0)


def equal(one: Any, other: Any) -> bool:
    """Also in its types, and where a number is none."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_found_in_a_text_does_not_depend_on_the_others(forgetful: Engine, seed: int) -> None:
    rng = random.Random(seed)
    known = planted()
    for _ in range(60):
        texts = list(dict.fromkeys(rng.choice((a_text(rng), rng.choice(known))) for _ in range(rng.randrange(12))))
        alone = {text: found for one in texts for text, found in forgetful.look([one]).items()}
        assert forgetful.look(texts) == alone


@pytest.mark.parametrize(
    "texts",
    [
        ("000-12-3456", "078-05-1120"), ("curl -u me", "x:secret99"), ("identified with a", "b by 'Ax9kkd83'"),
        ("home_location: lat", "52.5200, 13.4050"), ("\ud800" * 9 + "4111 1111 1111 1111 12", "anna@b.de"),
    ],
)  # fmt: skip
def test_no_rule_reads_on_in_the_next_text_nor_takes_its_edge(texts: tuple[str, ...]) -> None:
    found = [find for text in texts for find in engine(True, True).look([text])[text]]
    assert sorted(found) == sorted(find for finds in engine(True, True).look(texts).values() for find in finds)


def test_a_refused_value_does_not_hide_the_one_at_the_start_of_the_next_text() -> None:
    assert scrub("000-12-3456", "078-05-1120", policy=ALL).values == ("000-12-3456", "<us_ssn_1>")


@pytest.mark.parametrize(
    "text",
    ["_+49 170 1234567", "_pass_= Ax9kkd83!", "DE89-3-7-0400440532013000",
     "aws_1key: " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
)  # fmt: skip
def test_the_gate_is_as_wide_as_the_rule(text: str) -> None:
    assert engine(True, True).finds([(text,)])[0]


@pytest.mark.parametrize(
    "text",
    ["[paid] order_002368 668.00 on Monday", "order 002368 668.00", "_06 12 34 56 78", "_0049 170 1234567"],
)
def test_an_id_that_begins_with_zeros_is_no_phone_number(text: str) -> None:
    """Not behind an underscore, nor before a sum."""
    assert not engine(True, True).finds([(text,)])[0]


def test_a_rule_has_one_group_and_that_is_the_value() -> None:
    assert {compiled(rule.pattern).groups for rule in RULES} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.gate], ids=lambda rule: rule.kind)
def test_the_gate_is_found_wherever_a_rule_finds(rule: Rule) -> None:
    gate, pattern = (re2.compile(text, options()) for text in (rule.gate, rule.pattern))

    @settings(
        max_examples=15,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.from_regex(re.compile(in_python(rule.pattern), re.ASCII)))
    def holds(text: str) -> None:
        data = text.encode("utf-8", "replace").replace(b"\v", b" ")
        match = pattern.search(data)
        if match is not None and (rule.kind != "card_number" or len(digits_of(match.group(1).decode())) >= 13):
            assert gate.search(data) is not None, data

    holds()


def in_python(pattern: str) -> str:
    """A pattern of RE2 as one of `re` that generates a part of what it matches."""
    for theirs, ours in (
        (r"\z", r"\Z"),
        (r"\x{80}-\x{10ffff}", "\x80-\U0010ffff"),
        (r"[\pL", "[a-zA-Zà-ö"),
        (r"\pL", "[a-zA-Zà-ö]"),
    ):
        pattern = pattern.replace(theirs, ours)
    return pattern.replace(r"\p{Lu}", "[A-ZÀ-Ö]")


@pytest.mark.parametrize("most", [0, 20_000, 1 << 20])
def test_what_is_remembered_is_what_would_be_found(forgetful: Engine, most: int) -> None:
    rng = random.Random(most)
    known = planted()[::3]
    rules = Engine(RULES, remembered=most)
    for _ in range(150):
        texts = [*rng.choices(known, k=rng.randrange(6)), a_text(rng)]
        assert rules.finds([texts]) == forgetful.finds([texts])


@pytest.mark.parametrize(
    "policy", [ALL, Policy(), Policy(personal="keep"), Policy(personal="off"), Policy(max_personal=1)]
)
def test_rows_are_scrubbed_together_as_each_alone(policy: Policy) -> None:
    rng = random.Random(7)
    known = planted()
    rows = []
    for _ in range(200):
        call = {"role": "assistant", "tool_calls": [{"function": {"arguments": {"to": rng.choice(known)}}}]}
        said = {"role": "tool", "content": rng.choice(known)}
        goal = rng.choice((a_text(rng), rng.choice(known)))
        rows.append(((goal, rng.choice(([said], [call], [call, said])), a_value(rng)), (goal,)))
    together = scrub_all(rows, policy=policy)
    assert [
        equal(one, scrub(*row, policy=policy, task=task)) for one, (row, task) in zip(together, rows, strict=True)
    ] == [True] * 200
    assert len({repr(one.counts()) for one in together}) > 3
    assert scrub_all([], policy=policy) == []


def test_what_one_row_holds_is_replaced_in_no_other() -> None:
    secret, same = {"password": "k9f8s7d6a5x4"}, "set it to k9f8s7d6a5x4"
    alone: Scrubbed = scrub_all([((secret,), ()), ((same,), ())])[1]
    assert alone.values == (same,)
    assert scrub(secret, same).values[1] == "set it to <password_1>"


def test_the_memory_asks_once_for_a_text_and_keeps_no_more_than_it_may() -> None:
    asked: list[str] = []

    def look(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        asked.extend(texts)
        return {text: (len(text),) * (len(text) % 2) for text in texts}

    memory = ByteBoundCache[tuple[int, ...]](20_000, size_of=size_of)
    assert memory.found(("a", "bb", "a"), look) == {"a": (1,), "bb": ()}
    assert memory.found(("bb", "a"), look) == {"a": (1,), "bb": ()}
    assert asked == ["a", "bb"]
    for number in range(1000):
        assert memory.found((f"{number:03}", "bb"), look) == {f"{number:03}": (3,), "bb": ()}
    assert asked.count("bb") == 1
    memory.found(("x" * 20_000,), look)
    kept = [*memory.young, *memory._old]
    assert len(kept) > 10
    assert "x" * 20_000 not in kept
    assert sum(map(getsizeof, kept)) <= 40_000


@needed
@pytest.mark.parametrize("seed", range(20))
def test_texts_are_told_as_by_the_python_beside_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        values = tuple(a_value(rng) for _ in range(3))
        assert texts_of(values) == walked(values)
    for _ in range(60):
        lines = rng.choices((";", ",", "a;phone", "x,y", "", "1;2", "name", "tel;x,y", "2|3"), k=rng.randrange(7))
        table = "\n".join(lines)
        assert texts_of((table,)) == walked((table,)) == [table, *cells(table)]


@needed
@pytest.mark.parametrize("seed", range(20))
def test_what_is_known_of_texts_is_told_as_by_the_python_beside_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        values = tuple(a_value(rng) for _ in range(3))
        known: dict[str, tuple[int, ...]] = {
            text: tuple(range(rng.randrange(3))) for text in walked(values) if rng.random() < 0.7
        }
        said = recalled(values, known)
        assert told(values, known, None) == said
        marks = walk.Nothing()
        assert [told(values, known, marks) for _ in range(3)] == [said] * 3
        filled = [(9,) if isinstance(one, str) else one for one in said]
        assert filled == [found for text in walked(values) if (found := known.get(text, (9,)))]


@needed
def test_marks_tell_texts_in_which_nothing_is_found_and_no_others() -> None:
    marks = walk.Nothing()
    row = {"to": "nobody", "from": "anna", "note": ["x\ny", "to=anna"]}
    assert marks.told_apart({"to=nobody": (), "x\ny": (), "from=anna": (1,)}) == {"from=anna": (1,)}
    for _ in range(3):
        assert told((row,), {}, marks) == ["from=anna", "note", "note=x\ny", "note=to=anna"]
    assert told(({"to": "nobod", "t": "o=nobody"}, "to=nobody"), {}, marks) == ["to=nobod", "t=o=nobody"]
    assert told((row, {"": ""}, ""), {}, walk.Nothing()) == [*walked((row,)), "=", ""]


@needed
def test_marks_are_of_a_fixed_size() -> None:
    marks = walk.Nothing()
    texts = [f"text {number}" for number in range(200_000)]
    marks.told_apart(dict.fromkeys(texts, ()))
    known = len(texts) - len(told(texts, {}, marks))
    assert 30_000 < known <= 65_536


@needed
@pytest.mark.parametrize("seed", range(20))
def test_escapes_are_opened_as_by_the_python_beside_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        data = "".join(rng.choices("\\\\nrt\n\r\t\x01\x01a\0é", k=rng.randrange(12))).encode()
        assert opened(data) == opened_by_parts(data)
        assert closed(data) == closed_by_parts(data)


@needed
def test_what_nothing_is_replaced_in_stays_the_same_object() -> None:
    still: tuple[Any, ...] = ({"role": "user", "content": [{"text": "hello"}, ("a", 4155552671)]},)
    rows = (*still, {"content": "a secret"})
    (same, other) = replaced(rows, replacer({"secret": "<x>"}, ()))
    assert same is still[0]
    assert other == {"content": "a <x>"}
    assert rows[1] == {"content": "a secret"}


@needed
@pytest.mark.parametrize("seed", range(20))
def test_values_are_replaced_as_by_the_python_beside_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        names = {text: f"<{n}>" for n, text in enumerate({a_text(rng) for _ in range(4)} - {""})} or {"a": "<a>"}
        plain = [value for value in names if rng.random() < 0.3]
        change = replacer(names, plain)
        careful = replacer(names, plain, few=0)
        values = tuple(a_value(rng) for _ in range(3))
        expected = tuple(replaced_one(value, change) for value in values)
        assert equal(replaced(values, change), expected)
        assert equal(tuple(replaced_one(value, careful) for value in values), expected)


@needed
@pytest.mark.parametrize("seed", range(20))
def test_words_are_found_as_by_the_automaton(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        values = {"".join(rng.choices("ab1_ é-<\x01\n", k=rng.randrange(1, 4))) for _ in range(rng.randrange(1, 5))}
        words = [
            Word.of(value, f"<{value}>", rng.random() < 0.5)
            for value in sorted(values, key=lambda one: (-len(one), one))
        ]
        data = "".join(rng.choices("ab1_ é-<\x01\n\0\ud800", k=rng.randrange(30))).encode("utf-8", "surrogatepass")
        assert walk.substituted(data, tuple(words)) == by_pattern(words)(data)


def test_a_value_that_an_escape_splits_is_replaced_as_it_is_written() -> None:
    change = replacer({"a\nb": "<x>"}, ())
    assert replaced((["a\nb", "a\\nb", "a\x01\nb"],), change)[0][0] == "<x>"
