"""The version before, and the same without whoever was erased: as if he had never been in it, but for what others did."""

from collections.abc import Iterable
from dataclasses import replace

from l07.domain.dataset import Group
from l07.domain.erasure import Tombstones, is_member_erased
from l07.pipeline.curate.roll import Parent, Roll


def without(parent: Parent, tombstones: Tombstones) -> Parent:
    """A task that was his alone leaves its group too: its name may tell who he is. A group that was called so gets the
    name of the first of its other tasks."""
    members = parent.members
    stay = {
        key: member
        for key, member in members.items()
        if not is_member_erased(key, member.subject, member.source, tombstones)
    }
    gone = {member.task for key, member in members.items() if key not in stay}
    groups = _trimmed(parent.groups, gone - {member.task for member in stay.values()})
    return replace(parent, roll=Roll.of(stay.values(), groups))


def _trimmed(groups: Iterable[Group], gone: set[str]) -> list[Group]:
    out = []
    for group in groups:
        tasks = tuple(task for task in group.tasks if task not in gone)
        if tasks:
            out.append(replace(group, tasks=tasks, id=tasks[0] if group.id in gone else group.id))
    return out
