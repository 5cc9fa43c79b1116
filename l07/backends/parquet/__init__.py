"""Datasets as files: Parquet tables, a card that `datasets.load_dataset(dir)` reads, a manifest with every file's
digest.

| where | what |
|---|---|
| `data/<table>-*.parquet` | the rows of a table, in shards |
| `runs/`, `standing/` | everyone whom the version knows, in segments: what never changes, and where the row stands |
| `provenance/` | events and offsets behind every row |
| `sketches/` | near-duplicate sketches with their sorted bands |
| `groups.parquet` | which tasks share a split |

A file never changes: a version links those of the version before that stay as they are (a copy where the file system
has no links), so that an update costs what is new; each folder is complete by itself. File bytes may change with the
writer's release, so the version's identity is the digest over its rows, and the files' digests only tell whether
somebody has changed them.
"""

from l07.backends.parquet.bodies import Bodies
from l07.backends.parquet.files import MANIFEST, read_manifest, verify
from l07.backends.parquet.reading import (
    bytes_of,
    data_files,
    pieces_of,
    read_about,
    read_groups,
    read_lineage,
    read_members,
    read_parent,
    read_rows,
)
from l07.backends.parquet.writing import write_version

__all__ = [
    "MANIFEST",
    "Bodies",
    "bytes_of",
    "data_files",
    "pieces_of",
    "read_about",
    "read_groups",
    "read_lineage",
    "read_manifest",
    "read_members",
    "read_parent",
    "read_rows",
    "verify",
    "write_version",
]
