"""The real runs as events, and as the rows that the buffer seals. Imports nothing heavy: a worker that a bench spawns imports
what its main module does, and is to be as light as the product's."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from l07.domain.quality import CurateRules
from l07.ports import Seal, SealedBatch, SealedRow

RULES = CurateRules()
TOOL = Path(__file__).resolve().parents[2] / "shared" / "tools" / "traces_to_events.py"


def real_events(path: Path) -> Path | None:
    """The real runs as events, one a line."""
    if not TOOL.is_file():
        return None
    with path.open("wb") as file:
        subprocess.run([sys.executable, str(TOOL)], stdout=file, check=True)
    return path


def joined(path: Path) -> Iterator[SealedRow]:
    """Rows in the order in which they become complete, as the buffer's script joins and gates them."""
    halves: dict[str, dict[str, tuple[bytes, int, dict[str, Any]]]] = defaultdict(dict)
    with path.open("rb") as lines:
        for offset, line in enumerate(lines):
            event = json.loads(line)
            key = "execution:" + event["data"]["execution_id"]
            side = "trace" if event["type"] == "execution.completed" else "score"
            if side in halves[key]:
                continue
            halves[key][side] = (line.rstrip(b"\n"), offset, event["data"])
            if len(halves[key]) == 2:
                yield _row(key, halves[key]["trace"], halves[key]["score"])


def _row(key: str, trace: tuple[bytes, int, dict[str, Any]], score: tuple[bytes, int, dict[str, Any]]) -> SealedRow:
    quality, confidence = score[2]["quality_score"], score[2]["confidence"]
    low = [
        ("low_score", quality < RULES.quality_threshold),
        ("low_confidence", confidence < RULES.confidence_threshold),
    ]
    reasons = tuple(name for name, is_low in low if is_low)
    return SealedRow(
        key, "REJECT" if reasons else "ACCEPT", reasons, quality, confidence, trace[0], score[0],
        ("execution.traces", 0, trace[1]), ("evaluation.quality_scores", 0, score[1]),
    )  # fmt: skip


def batches(rows: Iterator[SealedRow], count: int) -> Iterator[SealedBatch]:
    """Cut at `count` accepted rows, the rest at the end."""
    held: list[SealedRow] = []
    number = 1
    for row in rows:
        held.append(row)
        if sum(r.decision == "ACCEPT" for r in held) == count:
            yield _sealed(held, number)
            held, number = [], number + 1
    if held:
        yield _sealed(held, number)


def _sealed(rows: Sequence[SealedRow], number: int) -> SealedBatch:
    accepted = sum(row.decision == "ACCEPT" for row in rows)
    seal = Seal(f"default-{number}", "default", "count", 1767600000000 + number, accepted, len(rows) - accepted, {}, {})
    return SealedBatch(seal, rows)
