"""Secrets and personal data: which planted values are still in the dataset's files, and which clean rows were changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from l07.domain.example import TrainingExample
from l07.domain.plants.plan import Plant
from l07.pipeline.audit.figures import Fact, by_source, share

KIND = "secrets"


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
        "classes": _by(judged, lambda fact: fact.what.partition(",")[0], tell),
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
    """By source: clean rows of the dataset that do not say any more what the run said. Some of them hold a true secret or
    a true address: only a person can tell."""
    clean = [fact for fact in facts if not fact.kind and fact.key in rows]
    changed = {fact.key for fact in clean if _changed(examples[fact.key], rows[fact.key])}
    return by_source(clean, lambda found: {"altered": share(sum(fact.key in changed for fact in found), len(found))})


def _changed(example: TrainingExample, row: Mapping[str, Any]) -> bool:
    before = sorted(texts([example.goal, example.messages, example.tools]))
    return before != sorted(texts([row["goal"], row["messages"], row["tools"]]))


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
