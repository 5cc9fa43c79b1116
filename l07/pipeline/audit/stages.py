"""Was it right to remove it? For each stage of the filter the share of what it took away that was known to be spoiled."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from l07.domain.reasons import NOTES, OTHER, stage_of
from l07.pipeline.audit.figures import SOUND, Fact, by_source, share

CLEAN = "clean"


def stages(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """A line for each stage that took a run away which had passed the gates, and each source of such runs.

    `right` is the share of these with a plant or a label that should go; a copy that was planted is one too. The rest counts as
    a false alarm, also where nobody has labelled it and it is bad all the same: so `right` is the least that it can be, and it
    falls with the rate at which was planted. A run that several stages spoke against counts for each of them."""
    removed = [fact for fact in facts if fact.passed and fact.fate in ("judged", "aside")]
    names = sorted({name for fact in removed for name in _against(fact)})
    return [
        {"stage": name, **line}
        for name in names
        for line in by_source([fact for fact in removed if name in _against(fact)], _right)
    ]


def _against(fact: Fact) -> set[str]:
    return {stage_of(reason) for reason in fact.reasons if reason not in NOTES} or {OTHER}


def _right(facts: Sequence[Fact]) -> dict[str, Any]:
    of = Counter(fact.kind or CLEAN for fact in facts)
    wrong = sum(count for kind, count in of.items() if kind == CLEAN or kind in SOUND)
    return {"right": share(len(facts) - wrong, len(facts)), "of": dict(of.most_common())}
