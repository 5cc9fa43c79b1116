"""Versions of a dataset as folders, by the way that the product takes: sealed batches in, a folder out."""

from pathlib import Path
from typing import Any

from l07.backends.worker import build_version
from l07.domain.quality import CurateRules
from l07.ports import CurateRequest, SealedRow
from tests.curation import a_batch, a_task_each


def a_version(
    root: Path, *rows: SealedRow, parent: Path | None = None, number: int = 1, others: int = 20, **rules: Any
) -> Path:
    """The folder of the version that follows when `rows`, and `others` that have nothing in common, are sealed."""
    batch = a_batch([*a_task_each(others, prefix=f"o{number}-"), *rows], number=number)
    output = root / "scratch" / str(number)
    made = build_version(CurateRequest("default", [batch], CurateRules(**rules), parent, None, output))
    assert made.version, made.summary
    return output.rename(root / made.version)
