"""Secrets and personal data: which planted values are still in the dataset's files, and which clean rows were changed."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from l07.domain.example import TrainingExample
from l07.domain.plants.plan import Plant
from l07.pipeline.audit.figures import Fact, by_source, share

KIND = "secrets"
USED = "personal, used by the task"  # the goal says it or a call passes it: kept unless the settings say otherwise
CLASSES = {"personal, goal": USED, "personal, arguments": USED}  # by place; all others by what they are
_PLACEHOLDER = re.compile(r"<([a-z_]+)_\d+>")


def spills(facts: Sequence[Fact], plants: Iterable[Plant], files: Sequence[bytes]) -> dict[str, Any]:
    """A value is found where it is nowhere in `files`: every text of the dataset. A row that left for another reason
    than its secret says nothing and is not counted. Empty without plants."""
    values = {plant.key: plant.values for plant in plants if plant.kind == KIND}
    left = {key for key, sought in values.items() if any(value.encode() in file for value in sought for file in files)}
    judged = [fact for fact in facts if fact.key in values and (fact.table or fact.decision == "QUARANTINE")]
    if not values:
        return {}

    def tell(found: Sequence[Fact]) -> dict[str, Any]:
        return {
            "found": share(sum(fact.key not in left for fact in found), len(found)),
            "quarantined": sum(fact.decision == "QUARANTINE" for fact in found),
        }

    return {
        "planted": len(values),
        "not_judged": len(values) - len(judged),
        "classes": _by(judged, lambda fact: CLASSES.get(fact.what, fact.what.partition(",")[0]), tell),
        "places": _by(judged, lambda fact: fact.what, tell),
        "kinds": _by(judged, lambda fact: fact.fault, tell),
        "sources": by_source(judged, tell),
    }


def _by(
    facts: Sequence[Fact], name: Callable[[Fact], str], tell: Callable[[Sequence[Fact]], dict[str, Any]]
) -> list[dict[str, Any]]:
    names = sorted({name(fact) for fact in facts})
    return [{"name": each, **tell([fact for fact in facts if name(fact) == each])} for each in names]


def alarms(
    facts: Sequence[Fact], examples: Mapping[str, TrainingExample], rows: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """By source: clean rows of the dataset that do not say any more what the run said, and in how many of them which kind
    was replaced. Some hold a true secret or a true address: only a person can tell."""
    clean = [fact for fact in facts if not fact.kind and fact.key in rows]
    changed = {
        fact.key: kinds for fact in clean if (kinds := _replaced(examples[fact.key], rows[fact.key])) is not None
    }

    def tell(found: Sequence[Fact]) -> dict[str, Any]:
        kinds = Counter(kind for fact in found for kind in changed.get(fact.key, ()))
        altered = share(sum(fact.key in changed for fact in found), len(found))
        return {"altered": altered, "kinds": dict(kinds.most_common())}

    return by_source(clean, tell)


def _replaced(example: TrainingExample, row: Mapping[str, Any]) -> set[str] | None:
    """The kinds of the placeholders that are new; None where nothing has changed."""
    before = sorted(texts([example.goal, example.messages, example.tools]))
    after = sorted(texts([row["goal"], row["messages"], row["tools"]]))
    if before == after:
        return None
    return set(_PLACEHOLDER.findall("\n".join(after))) - set(_PLACEHOLDER.findall("\n".join(before)))


def texts(value: Any) -> Iterator[str]:
    """Every text in a structure, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
