"""The heavy part, as one pure function: sealed batches and the version before -> the next version, or why there is
none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from l07.domain import drawing
from l07.domain.arrays import inverse, order_of
from l07.domain.bands import Bands, as_array
from l07.domain.dataset import (
    SCHEMA,
    Change,
    Group,
    Member,
    Number,
    Refusal,
    change,
    next_number,
    refusal,
    statistics,
)
from l07.domain.deeds import deeds_of
from l07.domain.example import TrainingExample
from l07.domain.quality import CurateRules
from l07.pipeline.curate.clusters import label, watch
from l07.pipeline.curate.columns import TABLE, Columns, word
from l07.pipeline.curate.diversity import diversity
from l07.pipeline.curate.forgetting import Erased
from l07.pipeline.curate.intake import AT_ONCE, BatchEnd, Fresh, Hashed, Revision, read_in, unhashed
from l07.pipeline.curate.placing import generic_deeds, place
from l07.pipeline.curate.roll import Everyone, Grouping, Parent, Roll, groups_of
from l07.pipeline.curate.stages import run_stages
from l07.pipeline.curate.twins import Body
from l07.pipeline.curate.work import DatasetWarning, Examples, Hold, Lineage, Work, digest_of, tally
from l07.ports import SealedBatch

ROOM_FROM = 1000  # rows: a dataset of fewer is soon written


@dataclass(frozen=True, slots=True)
class Golden:
    """A row of the frozen set; what is like it leaves train."""

    key: str
    task: str  # "domain/group"
    body: Body


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that can be written: what is new and what has changed, beside what the version before has."""

    number: Number
    roll: Roll  # of the version before
    columns: Columns  # of everyone, as they are now
    changed: Mapping[int, Member]  # by row; the new ones too
    grouping: Grouping
    bands: Bands | None  # of the new rows
    hold: Hold  # bodies of the new rows, also of such as have left since
    lineage: Sequence[Lineage]  # new lines
    difference: Change
    digest: str
    statistics: Mapping[str, Any]
    counts: Mapping[str, int]  # already_in_dataset, scrubbed, golden_twins, ...
    meaning: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[DatasetWarning] = ()
    withheld: Refusal | None = None

    @property
    def members(self) -> Mapping[str, Member]:
        """Everyone by natural key, sorted."""
        return Everyone(self.roll, self.changed)

    @property
    def groups(self) -> list[Group]:
        """All of them, by id."""
        return groups_of(self.columns, self.grouping)

    @property
    def examples(self) -> Mapping[str, TrainingExample]:
        """Bodies that no earlier version has, of rows in a table, where they are held as objects."""
        assert isinstance(self.hold, Examples)
        staying = {member.key for member in self.changed.values() if member.table}
        return {key: example for key, example in self.hold.items() if key in staying}


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
    hold: Hold | None = None,
    erased: Erased | None = None,
) -> Draft | Refusal:
    """The next version. The order of rows within a batch does not show; no clock, no chance but the keyed hash.
    `hashed` makes of a subject's name what is stored; `hold` takes the bodies of new rows. With `erased`
    somebody left `parent` for ever, and there is a version whatever is left: `withheld` says why nobody is to learn from it.

    Costs what is new, and of what is there a few passes over columns of numbers."""
    hold = Examples() if hold is None else hold
    roll = parent.roll if parent else Roll.of(())
    work = Work(rules, roll, parent.bodies if parent else _no_bodies, hold)
    _read(work, batches, hashed)
    work.find_twins()
    run_stages(work)
    grouping = place(work, erased.renamed if erased else ())
    _drop_golden(work, grouping, golden)
    _cap_tasks(work)
    _cap(work)
    return _draft(work, grouping, hold, parent, erased)


def _no_bodies(_: Mapping[str, int]) -> Mapping[str, Body]:
    return {}


def _read(work: Work, batches: Sequence[SealedBatch], hashed: Hashed) -> None:
    keys = [row.key for batch in batches for row in batch.rows]
    known = {key for key, row in zip(keys, work.roll.find(keys), strict=True) if row >= 0}
    revisions: dict[str, Revision] = {}
    fresh: list[Fresh] = []
    for one in read_in(batches, known, work.rules, work.counts, hashed):
        if isinstance(one, Revision):
            revisions[one.row.key] = one
            continue
        if isinstance(one, Fresh):
            fresh.append(one)
        if len(fresh) == AT_ONCE or not isinstance(one, Fresh):
            work.take(fresh)
            fresh = []
        if isinstance(one, BatchEnd):
            work.judge_again(one.again)
    work.revise(dict(sorted(revisions.items())))


def _drop_golden(work: Work, grouping: Grouping, golden: Sequence[Golden]) -> None:
    """What is like a golden row, did what it did, or is of its task, leaves train: the model must not have learnt what
    it will be asked."""
    if not golden:
        return
    columns = work.columns
    train = columns.table == TABLE["train"]
    out = np.zeros(len(columns), bool)
    out[_like_golden(work, golden)] = True
    deeds = {word(deeds_of(row.body.messages)) for row in golden} - set(generic_deeds(work).tolist()) - {0}
    out |= np.isin(columns.deeds, np.fromiter(deeds, np.uint64, len(deeds)))
    tasks = [number for row in golden if (number := columns.tasks.find(row.task)) >= 0]
    out |= np.isin(columns.task, tasks) | np.isin(grouping.group[columns.task], tasks)
    rows = np.flatnonzero(train & out).tolist()
    work.leave_all(rows, "golden_twin")
    if rows:
        work.counts["golden_twins"] = len(rows)


def _like_golden(work: Work, golden: Sequence[Golden]) -> list[int]:
    first = len(work)
    sketches = work.twins.sketches({first + number: row.body for number, row in enumerate(golden)})
    asked = Bands.of(np.arange(first, first + len(golden), dtype=np.uint32), as_array(list(sketches.values())))
    among = [*work.roll.bands, *((new,) if (new := work.new_bands()) is not None else ())]
    pairs = work.twins.pairs(asked, among, work.older, least=work.rules.cluster_similarity)
    keys = [row.key for row in golden]
    same = {member.key: row for row, member in work.changed.items() if row >= len(work.roll)}
    known = [row for row in (*work.roll.find(keys), *(same.get(key, -1) for key in keys)) if row >= 0]
    return [*known, *(row for pair in pairs for row in pair if row < first)]


def _cap_tasks(work: Work) -> None:
    """At most max_per_task rows of a task in the splits: a task with 500 attempts must not be half of a dataset."""
    columns, rules = work.columns, work.rules
    learnt = np.flatnonzero(columns.learnt)
    if rules.max_per_task and len(learnt):
        ranks = inverse(order_of(drawing.mixed(columns.draw[learnt], seed=rules.seed, purpose="task cap")))
        stay = drawing.lowest_of_each(columns.task[learnt], ranks, rules.max_per_task)
        work.leave_all(np.delete(learnt, stay).tolist(), "task_cap")


def _cap(work: Work) -> None:
    """At most max_examples rows in the splits, and contrast_ratio times as many beside them. What is too much is cut with
    some room: rows that leave are spread over all files, so a full dataset would be written anew with every batch."""
    columns, rules = work.columns, work.rules
    learnt = np.flatnonzero(columns.learnt)
    stay = len(learnt)
    if stay > rules.max_examples:
        strata, _ = columns.strata(learnt)
        chosen = drawing.stratified_cap(columns.draw[learnt], strata, cut_to(rules.max_examples), seed=rules.seed)
        work.leave_all(np.delete(learnt, chosen).tolist(), "cap")
        stay = len(chosen)
    contrast = np.flatnonzero(work.columns.table == TABLE["contrast"])
    most = int(rules.contrast_ratio * stay)
    if len(contrast) > most:
        chosen = drawing.lowest(columns.draw[contrast], cut_to(most), seed=rules.seed, purpose="contrast")
        work.leave_all(np.delete(contrast, chosen).tolist(), "contrast_cap")


def cut_to(most: int) -> int:
    """A twentieth less, where that are many rows."""
    return most - most // 20 if most >= ROOM_FROM else most


def _draft(work: Work, grouping: Grouping, hold: Hold, parent: Parent | None, erased: Erased | None) -> Draft | Refusal:
    label(work)
    work.remember_texts()
    columns = work.sealed()
    watched = watch(columns)
    told = tally(columns, grouping.group[columns.task])
    before = work.before([row for row in work.changed if row < len(work.roll)])
    difference = change(before.values(), work.changed.values())
    if erased is not None:
        difference = replace(difference, removed=difference.removed | erased.learnt)
        work.counts["erased"] = erased.rows
    refused = refusal(told, changed=bool(difference) or erased is not None)
    if refused and erased is None:
        return refused
    meaning = meaning_of(work.rules)
    same_meaning = parent is None or dict(parent.meaning) == meaning
    return Draft(
        number=next_number(parent.version if parent else None, difference, same_meaning=same_meaning),
        roll=work.roll,
        columns=columns,
        changed=work.changed,
        grouping=grouping,
        bands=work.new_bands(),
        hold=hold,
        lineage=sorted(work.lineage, key=lambda line: (line.key, line.batch_id)),
        difference=difference,
        digest=digest_of(columns),
        statistics={**statistics(told), "clusters": watched.clusters, "diversity": diversity(columns)},
        counts=dict(sorted(work.counts.items())),
        meaning=meaning,
        warnings=(*work.warnings, *watched.warnings),
        withheld=refused,
    )
