"""Rows are looked at some at a time, and how many makes no difference."""

import pytest

from l07.domain.quality import CurateRules
from l07.pipeline.curate import intake
from l07.pipeline.curate.intake import take_in
from tests.curation import a_batch, a_conversation, a_revision, a_row, a_world


def test_how_many_rows_are_looked_at_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = a_conversation("log in", "login(password='k9f8s7d6a5x4')")
    silence = [{"role": "assistant", "content": "hello"}]
    odd = [a_row("leaks", messages=secret), a_row("mute", messages=silence), a_revision("e1", score=80.0)]
    rows = [*a_world(3, runs=20), *odd, odd[0]]
    batches = [a_batch(rows[:15]), a_batch(rows[15:], number=2)]
    whole = take_in(batches, {}, CurateRules())
    assert {"scrubbed_password", "already_in_dataset"} <= whole.counts.keys()
    assert any(one.provenance is None for one in whole.fresh.values())
    assert {key: one.member.key for key, one in whole.fresh.items()} == {key: key for key in whole.fresh}
    for at_once in (1, 2, 7):
        monkeypatch.setattr(intake, "AT_ONCE", at_once)
        assert take_in(batches, {}, CurateRules()) == whole
