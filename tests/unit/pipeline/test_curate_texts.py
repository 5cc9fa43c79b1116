"""Packed texts come back as they were, and are bound in bytes."""

import pytest

from l07.backends.parquet.state import forget_kept
from l07.domain.doubt import Run
from l07.pipeline.curate import texts
from l07.pipeline.curate.texts import COPIED, PackedTexts

STRANGE = Run(
    (
        {"role": "user", "content": "שלום \U0001f600 \x00 \ufffd"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": {"n": 2**70, "x": 1.0}}}]},
        {"role": "tool", "content": [], "is_error": True, "cost": 1e-300},
    ),
    "",
)


def test_a_text_comes_back_to_the_types_of_its_values() -> None:
    packed = PackedTexts()
    packed.put(("k", 1), STRANGE)
    assert repr(packed.get(("k", 1))) == repr(STRANGE)
    assert packed.get(("k", 2)) is None
    assert packed.get(("other", 1)) is None


def test_the_oldest_go_where_all_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_BYTES", 5000)
    packed = PackedTexts()
    for number in range(4):
        packed.put(("k", number), Run((), "x" * 1500))
        packed.get(("k", 0))  # who is asked for is not the oldest
    assert [packed.get(("k", number)) is not None for number in range(4)] == [True, False, True, True]
    packed.put(("large", 0), Run((), "x" * 6000))
    assert packed.get(("large", 0)) is None
    packed.put(("k", 9), Run((), "x" * 4000))
    assert packed.get(("k", 9)) is not None


def test_who_is_kept_is_not_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_BYTES", 5000)
    packed = PackedTexts()
    for number in range(4):
        packed.put(("k", number), Run((), "x" * 1500))
        packed.keep(("k", 0))
        packed.keep(("nobody", 0))
    assert [("k", number) in packed for number in range(4)] == [True, False, True, True]
    assert ("nobody", 0) not in packed


def test_an_erasure_forgets_all_texts() -> None:
    COPIED.put(("somebody", 1), STRANGE)
    forget_kept()
    assert COPIED.get(("somebody", 1)) is None
