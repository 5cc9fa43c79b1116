"""Groups, their splits, and every row into its table; only what has moved is looked at row by row."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from l07.domain.arrays import distinct, is_among, is_frequent
from l07.domain.dataset import TABLES, Group, Have, Member, assign, merge, sizes
from l07.domain.deeds import MOST_TASKS, shared
from l07.pipeline.curate.columns import I64, TABLE_NAMES, Columns, Flags, words
from l07.pipeline.curate.roll import Grouping
from l07.pipeline.curate.work import Work

_OF_DECISION = {"REVIEW": "review", "REJECT": "contrast"}


def place(work: Work, renamed: Collection[str] = ()) -> Grouping:
    """A row whose group went to a stricter split leaves; new and revised rows come into the table of their decision.
    `renamed`: tasks whose rows say another name of their group than it has."""
    tasks = work.columns.tasks
    grouping = work.roll.grouping.grown(len(tasks))
    links = [*_alike(work), *_by_deeds(work)]
    named = {member.task for member in work.moved().values()} | {task for link in links for task in link}
    numbers = grouping.group[[tasks.number(task) for task in sorted(named)]]
    before = grouping.of_groups(distinct(numbers), tasks)
    groups = merge(before, named, links)
    _take_over(work, grouping, groups)
    _split_conflicts(work, {task: group for group in groups for task in group.tasks})
    for group in _assigned(work, grouping, groups):
        grouping.put(group, tasks)
    _look_at(work, work.old(work.kept() & np.isin(work.columns.task, [tasks.find(task) for task in renamed])))
    _into_tables(work, grouping)
    return grouping


def _alike(work: Work) -> Iterable[tuple[str, str]]:
    work.before(sorted({row for pair in work.pairs for row in pair} - work.changed.keys()))
    for one, other in work.pairs:
        a, b = work.member(one), work.member(other)
        if a.sketch and b.sketch:
            yield a.task, b.task


def _by_deeds(work: Work) -> Iterable[tuple[str, str]]:
    """Tasks whose accepted rows did exactly the same, now or in an earlier version. What older rows tie together is
    tied already, so only the deeds of rows that move are asked for."""
    columns = work.columns
    rows = _doers(work)
    asked = words([member.deeds for member in work.changed.values() if _did(member)])
    alike = rows[is_among(columns.deeds[rows], asked)]
    _, code, count = np.unique(columns.deeds[alike], return_inverse=True, return_counts=True)
    again = alike[count[code.reshape(-1)] > 1]  # what one row alone did ties nothing
    found = shared((f"{columns.deeds[row]:016x}", columns.tasks.names[columns.task[row]]) for row in again.tolist())
    generic = generic_deeds(work)
    if len(generic):
        work.counts["generic_deeds"] = len(generic)
    return found.links


def _did(member: Member) -> bool:
    return bool(member.deeds and member.sketch) and member.decision == "ACCEPT"


def _doers(work: Work) -> I64:
    """Accepted rows with deeds, of this or an earlier version: a sketch tells that a version has held the row."""
    columns = work.columns
    return np.flatnonzero((columns.decision == 0) & columns.sketched & (columns.deeds > 0))


def generic_deeds(work: Work) -> Any:
    """Deeds (their first 64 bits) of so many tasks that they say nothing of any."""
    columns, rows = work.columns, _doers(work)
    rows = rows[is_frequent(columns.deeds[rows], MOST_TASKS + 1)]
    deeds, code = np.unique(columns.deeds[rows], return_inverse=True)
    pairs = distinct(code.reshape(-1).astype(np.int64) << 32 | columns.task[rows])
    return deeds[np.bincount(pairs >> 32, minlength=len(deeds)) > MOST_TASKS]


def _take_over(work: Work, grouping: Grouping, groups: Sequence[Group]) -> None:
    """Put the groups; rows of tasks that got another group or split are looked at."""
    before = grouping.grown(len(grouping.group))
    for group in groups:
        grouping.put(group, work.columns.tasks)
    differ = (before.group != grouping.group) | (before.split != grouping.split)
    if differ.any():
        _look_at(work, work.old(work.kept() & differ[work.columns.task]))


def _look_at(work: Work, rows: I64) -> None:
    for row, member in work.before(rows.tolist()).items():
        work.set(row, member)


def _split_conflicts(work: Work, of_task: dict[str, Group]) -> None:
    for row, member in work.moved("ACCEPT").items():
        if member.learnt_from and member.split != of_task[member.task].split:
            work.leave(row, "split_conflict")


def _assigned(work: Work, grouping: Grouping, groups: Sequence[Group]) -> list[Group]:
    """First the groups with accepted rows, by the quotas of their strata; then those with rejected rows alone, among
    themselves. A group without a split has new rows only."""
    columns, seed = work.columns, work.rules.seed
    of_row = grouping.group[columns.task]
    accepted = work.kept("ACCEPT")
    with_accepted = np.zeros(len(grouping.group), bool)
    with_accepted[of_row[accepted]] = True
    beside = work.kept() & ~with_accepted[of_row]
    new = [group for group in groups if not group.split]
    first = _give(work, grouping, new, accepted, seed=seed, fill=True)
    return _give(work, grouping, first, beside, seed=seed, fill=False)


def _give(
    work: Work, grouping: Grouping, groups: Sequence[Group], rows: Flags, *, seed: int, fill: bool
) -> list[Group]:
    columns = work.columns
    numbers = np.array([columns.tasks.number(group.id) for group in groups], np.int64)
    of_row = grouping.group[columns.task]
    mine = np.zeros(len(grouping.group), bool)
    mine[numbers] = True
    is_theirs = mine[of_row]
    theirs = np.flatnonzero(rows & is_theirs)
    size = sizes(
        (columns.tasks.names[of_row[row]], m.stratum, m.key)
        for row, m in ((row, work.member(row)) for row in theirs.tolist())
    )
    others = np.flatnonzero(rows & ~is_theirs & (grouping.split > 0)[of_row])
    return assign(groups, size, seed=seed, fill=fill, have=_have(columns, grouping, others))


def _have(columns: Columns, grouping: Grouping, rows: I64) -> Have:
    """Rows by stratum and split; a group counts with all its rows in the stratum of most of them."""
    have: dict[str, Counter[str]] = defaultdict(Counter)
    strata, names = columns.strata(rows)
    group = grouping.group[columns.task[rows]].astype(np.int64)
    cells, counts = np.unique(group * max(1, len(names)) + strata, return_counts=True)
    owner, stratum = np.divmod(cells, max(1, len(names)))
    owners, first, total = _by_owner(owner, counts)
    most = stratum[_largest(counts, first)]
    code = most * len(TABLE_NAMES) + grouping.split[owners]
    sums = np.bincount(code, weights=total, minlength=len(names) * len(TABLE_NAMES))
    for cell in np.flatnonzero(sums).tolist():
        have[names[cell // len(TABLE_NAMES)]][TABLE_NAMES[cell % len(TABLE_NAMES)]] += int(sums[cell])
    return have


def _by_owner(owner: I64, counts: I64) -> tuple[I64, I64, I64]:
    """Of sorted owners: each once, where it begins, and the sum of its counts."""
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])) if len(owner) else np.zeros(0, np.int64)
    return owner[first], first, np.add.reduceat(counts, first) if len(first) else counts


def _largest(counts: I64, first: I64) -> I64:
    """Of each run of counts that begins at `first` the place of the largest, of equal ones the first."""
    if not len(first):
        return first
    length = np.diff(np.append(first, len(counts)))
    found = np.flatnonzero(counts == np.repeat(np.maximum.reduceat(counts, first), length))
    return found[np.searchsorted(found, first)]


def _into_tables(work: Work, grouping: Grouping) -> None:
    tasks = work.columns.tasks
    for row, member in work.moved().items():
        task = tasks.number(member.task)
        split = TABLE_NAMES[grouping.split[task]]
        table = _OF_DECISION.get(member.decision, split)
        assert table in TABLES
        group = tasks.names[grouping.group[task]]
        if (member.table, member.group, member.split) != (table, group, split):
            work.set(row, member.but(table=table, group=group, split=split))
