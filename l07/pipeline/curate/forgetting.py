"""The version before, and the same without whoever was erased: as if he had never been in it, but for what others did."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from l07.domain.dataset import SPLITS, Group
from l07.domain.erasure import Tombstones, is_member_erased
from l07.pipeline.curate.roll import Parent, Roll


@dataclass(frozen=True, slots=True)
class Erased:
    """What a build must know of those who are in its parent no more."""

    rows: int
    learnt: frozenset[str]  # natural keys of those that were in a split
    renamed: frozenset[str] = field(default_factory=frozenset)  # tasks whose group was named after a task that went


def without(parent: Parent, tombstones: Tombstones) -> tuple[Parent, Erased]:
    """Of a version that is at hand as objects; one that lies in files is done by columns (backends/parquet/thinning.py)."""
    everyone = parent.roll.members(range(len(parent.roll)))
    gone = {m.key: m for m in everyone if is_member_erased(m.key, m.subject, m.source, tombstones)}
    stay = [member for member in everyone if member.key not in gone]
    alone = {member.task for member in gone.values()} - {member.task for member in stay}
    before = parent.groups
    named = new_names({group.id: group.tasks for group in before}, alone)
    renamed = frozenset(task for group in before if group.id in named for task in group.tasks) - alone
    erased = Erased(len(gone), frozenset(key for key, m in gone.items() if m.table in SPLITS), renamed)
    return replace(parent, roll=Roll.of(stay, _trimmed(before, alone, named))), erased


def new_names(groups: Mapping[str, Collection[str]], alone: Collection[str]) -> dict[str, str]:
    """What a group is called that bears the name of a task that went: like the first of its other tasks. `groups`: id ->
    tasks; `alone`: tasks of which no run is left, and whose name may tell whose they were."""
    left = {ident: sorted(set(tasks) - set(alone)) for ident, tasks in groups.items() if ident in alone}
    return {ident: tasks[0] for ident, tasks in left.items() if tasks}


def _trimmed(groups: Iterable[Group], alone: Collection[str], named: Mapping[str, str]) -> list[Group]:
    out = []
    for group in groups:
        tasks = tuple(task for task in group.tasks if task not in alone)
        if tasks:
            out.append(replace(group, tasks=tasks, id=named.get(group.id, group.id)))
    return out
