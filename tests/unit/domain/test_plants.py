"""Planted secrets: whole in their context, seeded, with the checksums of their kind, and found again when they are left."""

import random

import pytest

from l07.domain.plants import contexts
from l07.domain.plants.secrets import KINDS, Half, into, left, plant


@pytest.mark.parametrize("half", ["tune", "held_out"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plant_stands_in_its_context_and_is_the_same_for_the_same_seed(kind: str, half: Half) -> None:
    for seed in range(10):
        one, other = (plant(kind, random.Random(seed), half=half) for _ in range(2))
        assert one == other
        assert left(one, one.content)
        assert not left(one, "nothing of it")


def test_the_halves_share_no_context() -> None:
    for kind in KINDS:
        tune, held_out = ({str(c.template) for c in contexts.of(kind, half)} for half in ("tune", "held_out"))
        assert tune
        assert held_out
        assert not tune & held_out


@pytest.mark.parametrize("kind", ["email", "password", "private_key"])
def test_a_plant_in_a_run_changes_one_message_and_can_be_seen_there(kind: str) -> None:
    messages = (
        {"role": "user", "content": "book it"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "ok"},
    )
    for seed in range(20):
        rng = random.Random(seed)
        planted = plant(kind, rng)
        after = into(messages, planted, rng)
        assert left(planted, after)
        assert sum(one not in messages for one in after) == 1


def test_half_a_value_that_is_left_counts_as_left() -> None:
    planted = plant("iban", random.Random(1))
    assert left(planted, f"x{planted.value[2:]}y")
    assert not left(planted, planted.value[:3])
