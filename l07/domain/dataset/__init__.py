"""A track's dataset: who is in it, which groups share a split, what makes a new version, and its numbers."""

from l07.domain.dataset.groups import Group, Size, assign, merge, sizes
from l07.domain.dataset.members import SPLITS, TABLES, Member, row_digest, version_digest
from l07.domain.dataset.version import SCHEMA, Change, Number, Refusal, change, next_number, refusal, statistics

__all__ = [
    "SCHEMA",
    "SPLITS",
    "TABLES",
    "Change",
    "Group",
    "Member",
    "Number",
    "Refusal",
    "Size",
    "assign",
    "change",
    "merge",
    "next_number",
    "refusal",
    "row_digest",
    "sizes",
    "statistics",
    "version_digest",
]
