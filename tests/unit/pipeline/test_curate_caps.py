"""A dataset has a size that it does not pass, and does not move more than it must to keep it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from l07.domain.quality import CurateRules
from l07.pipeline.curate import build as building
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.roll import Parent
from l07.ports import SealedRow
from tests.curation import Shelf, a_batch, a_task_each


def built(rows: Sequence[SealedRow], most: int, *, number: int = 1, parent: Parent | None = None) -> Draft:
    draft = build([a_batch(rows, number=number)], replace(CurateRules(), max_examples=most), parent=parent)
    assert isinstance(draft, Draft), draft
    return draft


def test_a_dataset_has_at_most_max_examples_and_no_stratum_is_lost() -> None:
    draft = built([*a_task_each(60), *a_task_each(6, prefix="rare", domain="work")], 40)
    learnt = [m for m in draft.members.values() if m.learnt_from]
    assert len(learnt) == 40
    assert sum(m.domain == "work" for m in learnt) == 6
    assert {m.reasons[-1] for m in draft.members.values() if not m.table} == {"cap"}


def test_a_full_dataset_has_room_for_the_next_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room, rows leave all over it with each of them."""
    monkeypatch.setattr(building, "ROOM_FROM", 40)
    shelf = Shelf()
    kept, left, parent = [], [], None
    for number in range(1, 7):
        draft = built(a_task_each(45 if number == 1 else 1, prefix=f"b{number}e"), 40, number=number, parent=parent)
        parent = shelf.parent(draft)
        kept.append(sum(m.learnt_from for m in draft.members.values()))
        left.append(len(draft.difference.removed))
    assert kept == [38, 39, 40, 38, 39, 40]
    assert [at for at, rows in enumerate(left) if rows] == [3]
