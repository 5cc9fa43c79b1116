"""The rows of the tables in shards that never change: what stays as it is is linked, a shard that loses rows is written
anew without them, new and moved rows come in a shard of their own, and many small ones become one.

A row is found by its table and the number of the write that placed it; a shard bears the numbers of all writes whose
rows it has."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from l07.backends.parquet.files import link, read_table, write_table
from l07.backends.parquet.schema import BODY, FACTS, ROW, STORED
from l07.backends.parquet.tables import columns_of
from l07.domain.dataset import TABLES, Member

FAN = 8  # shards or segments of one size that become one of the next
LARGE = 1024  # rows: such a shard is not merged any more, for one row that leaves has all of them written anew


def tier(rows: int) -> int:
    """0 for fewer than FAN rows, 1 for FAN times as many, ..."""
    found = 0
    while rows >= FAN:
        rows, found = rows // FAN, found + 1
    return found


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a table."""

    file: str
    table: str
    rows: int
    writes: tuple[int, ...]


def shards_of(manifest: Mapping[str, Any]) -> list[Shard]:
    return [Shard(one["file"], one["table"], one["rows"], tuple(one["writes"])) for one in manifest["shards"]]


def said_of(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """As the manifest has them."""
    return [asdict(shard) | {"writes": list(shard.writes)} for shard in sorted(shards, key=lambda shard: shard.file)]


class Shelf:
    """The shards of the version that is being written."""

    def __init__(self, output: Path, parent: Path | None, shards: Sequence[Shard], write: int) -> None:
        self.output, self._parent, self.write = output, parent, write
        self.shards = list(shards)
        self._number = 0
        self._coming: dict[str, pa.Table] = {}  # small ones by file: written at the end, since many are merged before

    def take(self, leaving: Mapping[tuple[str, int], Collection[str]]) -> list[pa.Table]:
        """Write the shards anew that lose rows; the bodies of those come back. `leaving`: keys by table and write."""
        of: dict[Shard, set[str]] = defaultdict(set)
        where = {(shard.table, write): shard for shard in self.shards for write in shard.writes}
        for place, keys in leaving.items():
            of[where[place]].update(keys)
        bodies = []
        for shard, keys in of.items():
            rows = self._read(shard)
            gone = pc.is_in(rows.column("key"), value_set=pa.array(sorted(keys), pa.string()))
            bodies.append(rows.filter(gone).select(BODY.names).cast(BODY))
            self.shards.remove(shard)
            self._add(shard.table, rows.filter(pc.invert(gone)), shard.writes)
        return bodies

    def put(self, coming: Mapping[str, Collection[Member]], bodies: pa.Table) -> None:
        """A shard a table of its rows, by key; `bodies` has them all, and others. They are taken once for all tables: to
        take joins all bodies first."""
        listed = {table: sorted(coming.get(table, ()), key=lambda member: member.key) for table in TABLES}
        rows = _rows([member for members in listed.values() for member in members], bodies).cast(STORED)
        at = 0
        for table, members in listed.items():
            self._add(table, rows.slice(at, len(members)), (self.write,))
            at += len(members)

    def merge(self) -> None:
        """FAN small shards of a size become one, until nowhere there are as many."""
        for table in TABLES:
            while (small := self._crowd(table)) is not None:
                rows = pa.concat_tables([self._read(shard) for shard in small])
                self.shards = [shard for shard in self.shards if shard not in small]
                for shard in small:
                    self._coming.pop(shard.file, None)
                self._add(table, rows, sorted({write for shard in small for write in shard.writes}))

    def finish(self) -> None:
        """Write what is new, link what stays as it was; a table without rows has a file without rows."""
        for file, rows in self._coming.items():
            write_table(rows, self.output / file)
        empty = [f"data/{table}-empty.parquet" for table in set(TABLES) - {shard.table for shard in self.shards}]
        for file in (*(shard.file for shard in self.shards), *empty):
            own = self.output / file
            if not own.is_file() and self._parent is not None and (self._parent / file).is_file():
                link(self._parent / file, own)
        for file in empty:
            if not (self.output / file).is_file():
                write_table(ROW.empty_table().cast(STORED), self.output / file)

    def _crowd(self, table: str) -> list[Shard] | None:
        sizes: dict[int, list[Shard]] = defaultdict(list)
        for shard in self.shards:
            if shard.table == table and shard.rows < LARGE:
                sizes[tier(shard.rows)].append(shard)
        return next((shards for _, shards in sorted(sizes.items()) if len(shards) >= FAN), None)

    def _add(self, table: str, rows: pa.Table, writes: Iterable[int]) -> None:
        if rows.num_rows:
            self._number += 1
            shard = Shard(
                f"data/{table}-{self.write:05}-{self._number:03}.parquet", table, rows.num_rows, tuple(writes)
            )
            self.shards.append(shard)
            if rows.num_rows < LARGE:
                self._coming[shard.file] = rows
            else:
                write_table(rows, self.output / shard.file)

    def _read(self, shard: Shard) -> pa.Table:
        if (coming := self._coming.get(shard.file)) is not None:
            return coming
        own = self.output / shard.file
        if own.is_file():
            return read_table(own)
        assert self._parent is not None
        return read_table(self._parent / shard.file)


def _rows(members: Sequence[Member], bodies: pa.Table) -> pa.Table:
    columns = columns_of(members)
    keys = pa.array(columns["key"], pa.string())
    taken = bodies.take(pc.index_in(keys, value_set=bodies.column("key").combine_chunks()))
    facts = {name: pa.array(columns[name], FACTS.field(name).type) for name in FACTS.names}
    return pa.table([facts.get(name, taken.column(name) if name in BODY.names else None) for name in ROW.names], ROW)
