"""A track's dataset: who is in it, which groups share a split, what makes a new version, and its numbers."""

from l07.domain.dataset.groups import DisjointSets, Group, Have, Size, assign, merge, sizes
from l07.domain.dataset.members import SPLITS, TABLES, Member, digest_of_sorted, row_digest, version_digest
from l07.domain.dataset.version import (
    SCHEMA,
    Cell,
    Change,
    Number,
    Refusal,
    Tally,
    change,
    next_number,
    refusal,
    statistics,
)

__all__ = [
    "SCHEMA",
    "SPLITS",
    "TABLES",
    "Cell",
    "Change",
    "DisjointSets",
    "Group",
    "Have",
    "Member",
    "Number",
    "Refusal",
    "Size",
    "Tally",
    "assign",
    "change",
    "digest_of_sorted",
    "merge",
    "next_number",
    "refusal",
    "row_digest",
    "sizes",
    "statistics",
    "version_digest",
]
