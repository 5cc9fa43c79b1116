"""What came of each run: its place in the version, what the stages said of it, and every text of the version."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l07.domain.dataset import SPLITS, TABLES
from l07.domain.example import TrainingExample
from l07.domain.plants.plan import Plant
from l07.pipeline.audit.figures import Fact
from l07.pipeline.audit.leaks import GOLDEN, Row
from l07.pipeline.audit.spills import texts
from l07.ports import SealedRow

if TYPE_CHECKING:  # it brings in what only a worker needs
    from l07.pipeline.curate.build import Golden

Names = Mapping[tuple[str, str], str]  # what a (source, domain) is called


@dataclass(slots=True)
class Found:
    """Of one track, or of all."""

    facts: list[Fact] = field(default_factory=list)
    plants: list[Plant] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # of the splits
    golden: list[Row] = field(default_factory=list)
    stored: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by key, of every table
    files: list[bytes] = field(default_factory=list)  # all that can be read in the version's folder
    examples: dict[str, TrainingExample] = field(default_factory=dict)


class Looker:
    """Gathers, track by track. `truth`: labels by natural key."""

    def __init__(self, truth: Mapping[str, str]) -> None:
        self.found = Found()
        self._truth = truth

    def look(
        self,
        folder: Path | None,
        rows: Sequence[SealedRow],
        examples: Mapping[str, TrainingExample],
        planted: Sequence[Plant],
        names: Names,
        golden: "Sequence[Golden]" = (),
    ) -> None:
        """`folder`: the newest version; None: there is none. `rows` as the curator got them."""
        members = self._read(folder) if folder else {}
        by_key = {plant.key: plant for plant in planted}
        for row in rows:
            plant = by_key.get(row.key)
            example = plant.example if plant else examples[row.key]
            name = names[(example.source, example.domain)]
            self.found.facts.append(_fact(row, name, plant, members.get(row.key), self._truth.get(row.key, "")))
        self.found.golden += [Row(f"golden/{row.key}", GOLDEN, row.task, *row.body) for row in golden]
        self.found.plants += planted
        self.found.examples.update(examples)

    def _read(self, folder: Path) -> dict[str, Mapping[str, Any]]:
        from l07.backends.parquet import bytes_of, read_members, read_rows

        members = read_members(folder)
        stored: list[dict[str, Any]] = []
        for table in TABLES:
            rows = read_rows(folder, table)
            stored += rows
            if table in SPLITS:
                self.found.rows += [_row(row, table) for row in rows]
        self.found.stored |= {row["key"]: row for row in stored}
        self.found.files += [_joined(stored), *(bytes_of(path) for path in _beside(folder)), *_plain(folder)]
        return {member["key"]: member for member in members}


def _row(row: Mapping[str, Any], table: str) -> Row:
    return Row(row["key"], table, f"{row['domain']}/{row['task_id']}", row["goal"], row["messages"])


def _plain(folder: Path) -> Iterator[bytes]:
    """Files that are no tables, as they are."""
    yield from (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".parquet")


def _beside(folder: Path) -> Iterator[Path]:
    """Tables about the rows; sketches are numbers alone."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.parquet"))
    yield from (folder / path for path in paths if path.parts[0] not in ("data", "sketches"))


def _joined(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "\n".join(texts(rows)).encode("utf-8", "surrogatepass")


def _fact(row: SealedRow, source: str, plant: Plant | None, member: Mapping[str, Any] | None, label: str) -> Fact:
    real = plant is None and bool(label)
    known = (
        {
            "decision": member["decision"],
            "table": member["table"] or "",
            "reasons": tuple(member["reasons"]),
            "scores": dict(member.get("scores") or {}),
        }
        if member
        else {"built": False}
    )
    return Fact(
        key=row.key,
        source=source,
        passed=row.decision == "ACCEPT" if plant is None or plant.second is None else plant.passes_at_first,
        kind=plant.kind if plant else f"real {label}" if real else "",
        fault=plant.fault if plant else label,
        of=plant.of if plant else "",
        what=plant.what if plant else "labelled" if real else "",
        real=real,
        **known,
    )
