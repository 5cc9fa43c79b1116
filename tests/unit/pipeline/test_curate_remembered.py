"""What a process remembers of texts is of these texts: the same key with another goal is another text."""

import random

import pytest

from l07.domain.doubt import CountBoundCache
from l07.domain.quality import CurateRules
from l07.pipeline.curate import twins
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.roll import Parent
from l07.ports import SealedRow
from tests.curation import Shelf, a_batch, a_conversation, a_row, a_task_each, words

# Without a user's message the event says the goal beside them.
SAID = a_conversation("", words(random.Random(1), 90))[1:]
GOALS = (
    "Tidy the room before noon, sweep the floor first and leave the books on the shelves.",
    "Paint both garage doors green, oil their hinges and then let the neighbours know.",
)
RULES = CurateRules(outliers=False, doubt=False, near_duplicates=False, exact_duplicates=False)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "_MET", CountBoundCache())


def test_the_same_messages_under_another_goal_are_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """One data set has the key with one goal, another that this process made since with another."""
    mine, other = (built([*a_task_each(40), the_row(goal)]) for goal in GOALS)
    remembered = likeness(mine)
    forget(monkeypatch)
    assert remembered == likeness(mine)
    forget(monkeypatch)
    assert remembered != likeness(other)  # else the goal would say nothing here


def the_row(goal: str, ident: str = "it") -> SealedRow:
    return a_row(ident, messages=SAID, task_id="room", task_description=goal)


def built(rows: list[SealedRow], parent: Parent | None = None) -> Draft:
    draft = build([a_batch(rows, number=2 if parent else 1)], RULES, parent=parent)
    assert isinstance(draft, Draft)
    return draft


def likeness(before: Draft) -> float:
    """Of a new run to the one that the version before has."""
    draft = built([the_row(f"{GOALS[0]} Close the window, too.", "new")], Shelf().parent(before))
    return draft.members["execution:new"].scores["nearest_similarity"]
