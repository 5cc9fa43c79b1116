"""The order in which supervised fine-tuning meets a version's train rows: by chance, by the version's curriculum, or by the
shuffled arm that it is compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from l07.errors import CurriculumUnfit
from l07.training import rows

TABLE = "curriculum.parquet"
RANKS: Mapping[int, str] = {1: "rank", 2: "rank_shuffled"}  # by the option `curriculum`; 0: by chance
One = TypeVar("One")


def read_train(folder: Path, which: int, cache: Path) -> list[dict[str, Any]]:
    """The train rows as `rows.read_split` has them, in the order of RANKS[which]; 0: as they are stored.

    Raises:
        CurriculumUnfit: E7734, the version has no curriculum, or one that does not give every train row one place."""
    if not which:
        return rows.read_split(folder, "train", cache)
    table = rows.read_table(folder, "train", cache)
    if table is None:
        return []
    places = _places(folder, RANKS[which], table["key"] if "key" in table.column_names else [], cache)
    return [rows.chat(row) for row in table.select_columns(["messages", "tools"]).select(places)]


def _places(folder: Path, rank: str, keys: Sequence[str], cache: Path) -> list[int]:
    """Of each rank from 0 on, the number of its row."""
    order = _read(folder, rank, cache)
    numbers = {key: number for number, key in enumerate(keys)}
    ranked = {int(at): numbers.get(key, -1) for key, at in order}
    places = [ranked.get(at, -1) for at in range(len(ranked))]
    if sorted(places) != list(range(len(keys))) or len(order) != len(places):
        raise CurriculumUnfit(
            f"{folder / TABLE}: {len(order)} entries do not give each of {len(keys)} train rows one place by `{rank}`; "
            "build the version anew, or set the option curriculum=0"
        )
    return places


def _read(folder: Path, rank: str, cache: Path) -> list[tuple[str, int]]:
    from datasets import load_dataset

    path = folder / TABLE
    if not path.is_file():
        raise CurriculumUnfit(f"{folder} has no {TABLE}; a newer release writes it, the option curriculum=0 needs none")
    table = load_dataset("parquet", data_files={"train": [str(path)]}, split="train", cache_dir=str(cache))
    if not {"key", rank} <= set(table.column_names):
        raise CurriculumUnfit(f"{path} has no columns `key` and `{rank}`")
    if any(at is None for at in table[rank]):
        raise CurriculumUnfit(f"{path}: `{rank}` is empty in some row")
    return list(zip(table["key"], table[rank], strict=True))


def spread(ordered: Sequence[One], extra: Sequence[One]) -> list[One]:
    """`ordered` with the rows of `extra` at even distances between them."""
    out = list(ordered)
    for number in reversed(range(len(extra))):
        out.insert((2 * number + 1) * len(ordered) // (2 * len(extra)), extra[number])
    return out
