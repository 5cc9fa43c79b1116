"""The heavy part, as one pure function: sealed batches and the version before -> the next version, or why there is
none."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from l07.domain.dataset import (
    SCHEMA,
    Change,
    Group,
    Member,
    Number,
    Refusal,
    assign,
    change,
    merge,
    next_number,
    refusal,
    sizes,
)
from l07.domain.deeds import deeds_of, shared
from l07.domain.erasure import Tombstones
from l07.domain.example import Provenance, TrainingExample
from l07.domain.outliers import Run, strangeness
from l07.domain.quality import CurateRules
from l07.domain.selection import lowest, stratified_cap
from l07.pipeline.curate.forgetting import Parent as Parent
from l07.pipeline.curate.forgetting import without
from l07.pipeline.curate.intake import Hashed, Intake, revised, take_in, unhashed
from l07.pipeline.curate.twins import Bodies, Body, Twins, drop_duplicates
from l07.ports import SealedBatch


@dataclass(frozen=True, slots=True)
class Golden:
    """A row of the frozen set; what is like it leaves train."""

    key: str
    task: str  # "domain/group"
    body: Body


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row's decision came from; one line a row and batch."""

    key: str
    batch_id: str
    events: Provenance


@dataclass(frozen=True, slots=True)
class DatasetWarning:
    """What a person should look at in a version that stands."""

    name: str  # a constant, such as "large_cluster"
    message: str  # one sentence with the value


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that can be written."""

    number: Number
    members: Mapping[str, Member]  # everyone, by key, sorted
    groups: Sequence[Group]
    examples: Mapping[str, TrainingExample]  # bodies that no earlier version has, of rows in a table
    lineage: Sequence[Lineage]  # new lines
    difference: Change
    counts: Mapping[str, int]  # already_in_dataset, scrubbed, golden_twins, ...
    meaning: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[DatasetWarning] = ()
    withheld: Refusal | None = None


def meaning_of(rules: CurateRules) -> dict[str, Any]:
    """What a label means; another meaning is another major version."""
    return {
        "schema": SCHEMA,
        "quality_threshold": rules.quality_threshold,
        "confidence_threshold": rules.confidence_threshold,
    }


def build(
    batches: Sequence[SealedBatch],
    rules: CurateRules,
    *,
    parent: Parent | None = None,
    golden: Sequence[Golden] = (),
    hashed: Hashed = unhashed,
    erased: Tombstones | None = None,
) -> Draft | Refusal:
    """The next version. The order of rows within a batch does not show; no clock, no chance but the keyed hash.
    `hashed` makes of a subject's name what is stored. With `erased` somebody leaves for ever, and there is a version
    whatever is left: `withheld` says why nobody is to learn from it."""
    whole = parent
    if parent is not None and erased:
        parent = without(parent, erased)
    before = dict(parent.members) if parent else {}
    intake = take_in(batches, before, rules, hashed=hashed)
    work = _Work(rules, before, parent.bodies if parent else _no_bodies)
    work.take(intake)
    work.find_twins()
    work.drop_duplicates()
    if rules.outliers:
        work.review_outliers()
    groups = work.place(parent.groups if parent else ())
    work.drop_golden(golden)
    work.cap()
    members = dict(sorted(work.members.items()))
    meaning = meaning_of(rules)
    same_meaning = parent is None or dict(parent.meaning) == meaning
    difference = change(whole.members.values() if whole else (), members.values())
    refused = refusal(members.values(), changed=bool(difference) or bool(erased))
    if refused and not erased:
        return refused
    gone = {"erased": len(whole.members) - len(before)} if whole and erased else {}
    return Draft(
        number=next_number(parent.version if parent else None, difference, same_meaning=same_meaning),
        members=members,
        groups=groups,
        examples={key: example for key, example in work.examples.items() if members[key].table},
        lineage=_lineage(intake),
        difference=difference,
        counts={**intake.counts, **work.counts, **gone},
        meaning=meaning,
        withheld=refused,
        warnings=work.warnings,
    )


def _no_bodies(_: Collection[str]) -> Mapping[str, Body]:
    return {}


def _lineage(intake: Intake) -> list[Lineage]:
    fresh = [Lineage(f.member.key, f.member.batch_id, f.provenance) for f in intake.fresh.values() if f.provenance]
    later = [Lineage(key, r.batch_id, r.provenance) for key, r in intake.revisions.items()]
    return sorted((*fresh, *later), key=lambda line: (line.key, line.batch_id))


class _Work:
    """The members on their way from one version to the next; each step moves some of them."""

    def __init__(self, rules: CurateRules, before: Mapping[str, Member], bodies: Bodies) -> None:
        self.rules = rules
        self.members = dict(before)
        self.bodies = bodies
        self.examples: dict[str, TrainingExample] = {}
        self.counts: dict[str, int] = {}
        self.warnings: list[DatasetWarning] = []
        self._touched: set[str] = set()  # rows that are new or were decided anew
        self._pairs: dict[tuple[str, str], float] = {}
        self._twins = Twins()
        self._generic: frozenset[str] = frozenset()  # deeds of too many tasks

    def take(self, intake: Intake) -> None:
        """New rows come in without a table; a revised row leaves its table until it is placed again."""
        for key, fresh in intake.fresh.items():
            self.members[key] = fresh.member
            if fresh.example is not None:
                self.examples[key] = fresh.example
                self._touched.add(key)
        for key, revision in intake.revisions.items():
            member = self.members.get(key)
            if member is None or not (member.table or key in self.examples):
                self._count("revision_without_row")
                continue
            self.members[key] = revised(member, revision)
            self._touched.add(key)
            self._count("revised")

    def find_twins(self) -> None:
        """Sketch the new rows, and every pair of a touched row with any other that was ever kept."""
        for key, example in self.examples.items():
            sketch = self._twins.sketch(key, Body(example.goal, example.messages))
            self.members[key] = replace(self.members[key], sketch=sketch)
        for key, member in self.members.items():
            if member.sketch:
                self._twins.add(key, member.sketch)
        self._pairs = self._twins.pairs(sorted(self._touched), self.bodies, least=self.rules.cluster_similarity)
        nearest: dict[str, float] = {}
        for pair, value in self._pairs.items():
            for key in pair:
                nearest[key] = max(value, nearest.get(key, 0.0))
        for key in nearest.keys() & self._touched:
            member = self.members[key]
            scores = {**member.scores, "nearest_similarity": round(nearest[key], 6)}
            self.members[key] = replace(member, scores=scores)

    def drop_duplicates(self) -> None:
        """Within the accepted and within the rejected rows, where something has moved."""
        for decision in ("ACCEPT", "REJECT"):
            rows = [member for member in self._kept() if member.decision == decision]
            leave = drop_duplicates(
                rows,
                self._pairs if self.rules.near_duplicates else {},
                similarity=self.rules.near_duplicate_similarity,
                seed=self.rules.seed,
                exact=self.rules.exact_duplicates,
            )
            for key, member in leave.items():
                self._leave(key, member)

    def review_outliers(self) -> None:
        """Judge the new accepted rows against all of their source that passed the gates; rows in review stay part of
        what is normal, or each batch would call a little more strange."""
        runs = [
            Run(member.key, member.source, member.domain, member.features, new=member.key in self.examples)
            for member in self._kept()
            if member.decision in ("ACCEPT", "REVIEW")
        ]
        for key, strange in strangeness(runs, seed=self.rules.seed).items():
            reasons = strange.reasons(max_probability=self.rules.max_outlier_probability, max_z=self.rules.outlier_z)
            member = self.members[key]
            decision = "REVIEW" if "outlier_z" in reasons else member.decision
            scores = {**member.scores, **strange.scores}
            self.members[key] = replace(member, decision=decision, reasons=(*member.reasons, *reasons), scores=scores)

    def place(self, before: Sequence[Group]) -> list[Group]:
        """Groups, their splits, and every row into its table; a row whose group went to a stricter split leaves."""
        kept = {member.key: member for member in self._kept()}
        links = [(a.task, b.task) for a, b in self._paired() if a.sketch and b.sketch]
        links += self._by_deeds()
        groups = merge(before, (member.task for member in kept.values()), links)
        of_task = {task: group for group in groups for task in group.tasks}
        for member in kept.values():
            moved = of_task[member.task].split
            if member.decision == "ACCEPT" and member.learnt_from and member.split != moved:
                self._leave(member.key, replace(member, reasons=(*member.reasons, "split_conflict")))
        groups = self._assigned(groups, of_task)
        self._into_tables({task: group for group in groups for task in group.tasks})
        return sorted(groups, key=lambda group: group.id)

    def _paired(self) -> Iterable[tuple[Member, Member]]:
        return ((self.members[one], self.members[other]) for one, other in self._pairs)

    def _by_deeds(self) -> Iterable[tuple[str, str]]:
        """Tasks whose accepted rows did exactly the same, now or in an earlier version; a sketch tells that a version
        has held the row."""
        found = shared((m.deeds, m.task) for m in self.members.values() if m.decision == "ACCEPT" and m.sketch)
        self._generic = found.generic
        if found.generic:
            self.counts["generic_deeds"] = len(found.generic)
        return found.links

    def _assigned(self, groups: Sequence[Group], of_task: Mapping[str, Group]) -> list[Group]:
        """First the groups with accepted rows, by the quotas of their strata; then those with rejected rows alone,
        among themselves."""
        kept = self._kept()
        accepted = sizes((of_task[m.task].id, m.stratum, m.key) for m in kept if m.decision == "ACCEPT")
        beside = sizes((of_task[m.task].id, m.stratum, m.key) for m in kept if of_task[m.task].id not in accepted)
        first = assign(groups, accepted, seed=self.rules.seed)
        return assign(first, beside, seed=self.rules.seed, fill=False)

    def _into_tables(self, of_task: Mapping[str, Group]) -> None:
        for member in self._kept():
            group = of_task[member.task]
            table = {"ACCEPT": group.split, "REVIEW": "review", "REJECT": "contrast"}[member.decision]
            self.members[member.key] = replace(member, table=table, group=group.id, split=group.split)

    def drop_golden(self, golden: Sequence[Golden]) -> None:
        """What is like a golden row, did what it did, or is of its task, leaves train: the model must not have learnt
        what it will be asked."""
        names = {f"golden/{row.key}/{number}": row for number, row in enumerate(golden)}
        for name, row in names.items():
            self._twins.add(name, self._twins.sketch(name, row.body))
        pairs = self._twins.pairs(sorted(names), self.bodies, least=self.rules.cluster_similarity)
        alike = {key for pair in pairs for key in pair} | {row.key for row in golden}
        deeds = {deeds_of(row.body.messages) for row in golden} - self._generic - {""}
        tasks = {row.task for row in golden}
        for member in [member for member in self.members.values() if member.table == "train"]:
            if member.key in alike or member.deeds in deeds or member.task in tasks or member.group in tasks:
                self._leave(member.key, replace(member, reasons=(*member.reasons, "golden_twin")))
                self._count("golden_twins")

    def cap(self) -> None:
        """At most max_examples rows in the splits, and contrast_ratio times as many beside them."""
        learnt = {member.key: member.stratum for member in self.members.values() if member.learnt_from}
        if len(learnt) > self.rules.max_examples:
            stay = stratified_cap(learnt, self.rules.max_examples, seed=self.rules.seed)
            self._leave_all(learnt.keys() - stay, "cap")
            learnt = {key: learnt[key] for key in stay}
        contrast = [member.key for member in self.members.values() if member.table == "contrast"]
        chosen = lowest(
            contrast, int(self.rules.contrast_ratio * len(learnt)), seed=self.rules.seed, purpose="contrast"
        )
        self._leave_all(set(contrast) - chosen, "contrast_cap")

    def _kept(self) -> list[Member]:
        """Rows that have a body and have not left: in a table of the version before, or new."""
        return [member for key, member in self.members.items() if member.table or key in self.examples]

    def _leave_all(self, keys: Iterable[str], reason: str) -> None:
        for key in keys:
            member = self.members[key]
            self._leave(key, replace(member, reasons=(*member.reasons, reason)))

    def _leave(self, key: str, member: Member) -> None:
        """The row goes, its key stays known; a sketch is kept only of what a version has held."""
        was_new = self.examples.pop(key, None) is not None
        self.members[key] = replace(member, table="", group="", split="", sketch=b"" if was_new else member.sketch)

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
