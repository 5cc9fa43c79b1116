"""The gate before the rules: groups of patterns count as one list, and no gate is narrower than what stands behind it."""

import re

import pytest
import re2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from l07.domain.gate import Gate, options
from l07.domain.injection.wordings import DIRECTIVES, Directive
from l07.domain.scrub.engine import engine


def test_groups_tell_what_one_list_of_patterns_would() -> None:
    texts = ["cab", b"x", "", b"b 12", "12c"]
    patterns = ["a", "[0-9]+", "b", "c$"]
    whole = Gate(patterns).marked(texts)
    assert whole == [[0, 2], [], [], [1, 2], [1, 3]]
    assert Gate(patterns[:2], patterns[2:]).marked(texts) == whole
    assert Gate([], patterns[:1], patterns[1:]).marked(texts) == whole
    assert Gate(patterns).marked([]) == []


def test_the_scrubs_groups_hold_every_rule_once() -> None:
    rules = engine(True, True)
    assert sorted(rules._order) == list(range(len(rules._rules)))
    assert rules._order != sorted(rules._order)


@pytest.mark.parametrize("directive", DIRECTIVES, ids=lambda directive: directive.kind)
def test_a_directives_gate_is_found_wherever_it_is_found(directive: Directive) -> None:
    gate, pattern = (re2.compile(text, options()) for text in (directive.gate, directive.pattern))
    seen = []

    @settings(
        max_examples=15,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.from_regex(re.compile(in_python(directive.pattern))))
    def holds(text: str) -> None:
        data = text.encode("utf-8", "replace")
        if pattern.search(data) is not None:
            seen.append(data)
            assert gate.search(data) is not None, data

    holds()
    assert seen


def in_python(pattern: str) -> str:
    """A pattern of RE2 as one of `re` that generates a part of what it matches."""
    letters = "a-zA-Zà-öа-яא-ת"
    return pattern.replace(r"\z", r"\Z").replace(r"[\pL\pN", f"[{letters}0-9").replace(r"\pL", f"[{letters}]")
