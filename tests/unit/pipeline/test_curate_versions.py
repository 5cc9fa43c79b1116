"""What a later version does to the rows of an earlier one."""

import pytest

from l07.domain.quality import CurateRules
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.roll import Parent
from l07.ports import SealedBatch
from tests.curation import Shelf, a_batch, a_conversation, a_row, a_task_each

RULES = CurateRules()


def built(batch: SealedBatch, *, parent: Parent | None = None) -> Draft:
    draft = build([batch], RULES, parent=parent)
    assert isinstance(draft, Draft), draft
    return draft


def where(draft: Draft, ident: str) -> tuple[str, tuple[str, ...]]:
    member = draft.members[f"execution:{ident}"]
    return member.table, member.reasons


@pytest.mark.parametrize("change", [" end", ""], ids=["near", "exact"])
@pytest.mark.parametrize("later", [95.0, 75.0])
def test_over_versions_too_the_better_scored_of_two_that_are_alike_stays(later: float, change: str) -> None:
    text = " ".join(f"w{n}" for n in range(200))
    first = built(
        a_batch([*a_task_each(20), a_row("old", score=85.0, task_id="t", messages=a_conversation("g", text))])
    )
    new = a_row("new", score=later, task_id="t", messages=a_conversation("g", f"{text}{change}"))
    second = built(a_batch([new, *a_task_each(1, prefix="n")], number=2), parent=Shelf().parent(first))
    stays, leaves = ("new", "old") if later > 85 else ("old", "new")
    assert where(second, stays)[0] in ("train", "validation", "test")
    assert where(second, leaves)[0] == ""
    assert where(second, leaves)[1][-1] == ("near_duplicate" if change else "exact_duplicate")
