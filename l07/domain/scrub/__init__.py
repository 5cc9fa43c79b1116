"""Secrets and personal data leave the messages before anybody learns from them: each value becomes a placeholder that
is the same all through its row.

Secrets are always replaced. Personal data that is passed to a tool, or stands in the goal, is the task: a model that
learns `<iban_1>` has learnt to make a wrong call (330 of 601 real banking runs pass an account number to a tool, 34 of
587 travel runs an address). So by default it is replaced everywhere but there (`keep_arguments`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from l07.domain.quality import CurateRules
from l07.domain.scrub.checks import luhn
from l07.domain.scrub.engine import Find, engine
from l07.domain.scrub.replacing import replaced, replacer
from l07.domain.scrub.scanners import scanned
from l07.domain.scrub.texts import calls_in, closed, joined, texts_of

__all__ = ["SCRUBBED", "Policy", "Scrubbed", "finds", "luhn", "policy_of", "scrub", "scrub_all"]

SCRUBBED = "scrubbed"  # the reason of a row that was changed: a note, no fault
Secrets = Literal["scrub", "off"]
Personal = Literal["scrub", "keep_arguments", "keep", "off"]
_Kept = frozenset[tuple[str, str]]  # personal data that stays, each by kind and canonical spelling


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to each class. `keep_arguments`: personal data that is the task stays; `keep`: it is only counted."""

    secrets: Secrets = "scrub"
    personal: Personal = "keep_arguments"
    scanners: tuple[str, ...] = ()  # names; see scanners.py
    max_secrets: int = 5  # different ones in a row; more: quarantine
    max_personal: int = 50  # the same for personal data that would be replaced


def policy_of(rules: CurateRules) -> Policy:
    """What a version's rules say of the scrub."""
    return Policy(
        cast(Secrets, rules.scrub_secrets),
        cast(Personal, rules.scrub_personal),
        rules.scanners,
        rules.max_secrets,
        rules.max_personal,
    )


DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The values without what was found; none where the row is a spill. Counts are different values by kind, not places: one password that is said
    seven times is no spill."""

    values: tuple[Any, ...]
    secrets: Mapping[str, int] = field(default_factory=dict)
    personal: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)  # personal data that stayed

    @property
    def kinds(self) -> Mapping[str, int]:
        """What was replaced, secrets and personal data."""
        return {**self.secrets, **self.personal}

    @property
    def hits(self) -> int:
        """Different values that were replaced."""
        return sum(self.kinds.values())

    def spill(self, policy: Policy) -> tuple[str, ...]:
        """Why the row is for quarantine: it holds more different values than the limits allow. Empty: it is not."""
        secret, own = sum(self.secrets.values()), sum(self.personal.values())
        return (
            *(f"secret_{kind}" for kind in self.secrets if secret > policy.max_secrets),
            *(f"personal_{kind}" for kind in self.personal if own > policy.max_personal),
        )

    def counts(self) -> dict[str, int]:
        """For the counts of a version: rows that changed, values by kind that were replaced and that stayed."""
        replaced = {f"scrubbed_{kind}": number for kind, number in self.kinds.items()}
        stayed = {f"kept_{kind}": number for kind, number in self.kept.items()}
        return {**({"scrubbed": 1} if replaced else {}), **replaced, **stayed}


Row = tuple[
    Sequence[Any], Sequence[Any]
]  # texts and structures of a row; where its task is told, beside the arguments of calls


def scrub(*values: Any, policy: Policy = DEFAULT, task: Sequence[Any] = ()) -> Scrubbed:
    """One row's texts and structures; `task` is where the task is told, beside the arguments of calls. What is found in
    one place is replaced in every place of the row, also where no rule would have seen it ("set it to k9..." beside
    `{"password": "k9..."}`): equal before is equal after."""
    return scrub_all([(values, task)], policy=policy)[0]


def scrub_all(rows: Sequence[Row], *, policy: Policy = DEFAULT) -> list[Scrubbed]:
    """Each row as if it were alone; many at once cost less than one after the other."""
    found = _finds([values for values, _ in rows], policy)
    kept = _kept(rows, found, policy)
    return [
        _scrubbed(values, finds, stay, policy) if finds else Scrubbed(tuple(values))
        for (values, _), finds, stay in zip(rows, found, kept, strict=True)
    ]


def _scrubbed(values: Sequence[Any], found: Sequence[Find], kept: _Kept, policy: Policy) -> Scrubbed:
    names, counts = _named([find for find in found if (find.kind, find.same) not in kept])
    secret = {find.kind for find in found if not find.personal}
    told = Scrubbed(
        (),
        {kind: count for kind, count in counts.items() if kind in secret},
        {kind: count for kind, count in counts.items() if kind not in secret},
        _counted(kept),
    )
    return told if told.spill(policy) else replace(told, values=_clean(tuple(values), names, found))


def _clean(values: tuple[Any, ...], names: Mapping[str, str], found: Sequence[Find]) -> tuple[Any, ...]:
    if not names:
        return values
    anywhere = frozenset(find.value for find in found if not find.personal and len(find.value) >= 8)
    return replaced(values, replacer(names, anywhere))


def finds(text: str, *, policy: Policy = DEFAULT) -> Iterator[tuple[str, str]]:
    """(kind, value) of every find in one text."""
    for find in _finds([(text,)], policy)[0]:
        yield find.kind, closed(find.value.encode()).decode()


def _finds(rows: Sequence[Sequence[Any]], policy: Policy) -> list[list[Find]]:
    found = engine(policy.secrets == "scrub", policy.personal != "off").finds(rows)
    if policy.scanners and policy.personal != "off":
        for values, finds in zip(rows, found, strict=True):
            finds += scanned(joined(texts_of(values)).decode("utf-8", "surrogatepass"), policy.scanners)
    return found


def _kept(rows: Sequence[Row], found: Sequence[Sequence[Find]], policy: Policy) -> list[_Kept]:
    """Of each row the personal data that is not replaced."""
    kept: list[_Kept] = [frozenset()] * len(rows)
    if policy.personal not in ("keep", "keep_arguments"):
        return kept
    own = {number: _personal(finds) for number, finds in enumerate(found) if any(find.personal for find in finds)}
    if policy.personal == "keep":
        for number, values in own.items():
            kept[number] = frozenset(values)
        return kept
    tasks = [(*rows[number][1], *calls_in(rows[number][0])) for number in own]
    for (number, values), task, seen in zip(own.items(), tasks, _finds(tasks, policy), strict=True):
        kept[number] = _in_task(values, task, seen)
    return kept


def _personal(found: Sequence[Find]) -> dict[tuple[str, str], str]:
    """A spelling of each personal value, by kind and canonical spelling."""
    return {(find.kind, find.same): find.value for find in found if find.personal}


def _in_task(own: Mapping[tuple[str, str], str], task: Sequence[Any], found: Sequence[Find]) -> _Kept:
    seen = {(find.kind, find.same) for find in found}
    unseen = own.keys() - seen
    if unseen:
        row = joined(texts_of(task))
        seen |= {one for one in unseen if own[one].encode("utf-8", "replace") in row}
    return frozenset(own.keys() & seen)


def _named(found: Sequence[Find]) -> tuple[dict[str, str], dict[str, int]]:
    """A name for each spelling, the same for all spellings of one value; how many values there are of each kind."""
    counts: dict[str, int] = {}
    numbers: dict[tuple[str, str], str] = {}
    names: dict[str, str] = {}
    for find in found:
        value = (find.kind, find.same)
        if value not in numbers:
            counts[find.kind] = counts.get(find.kind, 0) + 1
            numbers[value] = f"<{find.kind}_{counts[find.kind]}>"
        names.setdefault(find.value, numbers[value])
    return names, counts


def _counted(values: Iterable[tuple[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, _ in sorted(values):
        counts[kind] = counts.get(kind, 0) + 1
    return counts
