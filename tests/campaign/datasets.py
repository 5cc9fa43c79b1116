"""The judge of the datasets: no run lost, none twice, nothing that the input did not say, every file as its manifest says."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.campaign.judge import Expected, Judgement, Seen

FAR = 1e-9


def judge_datasets(
    root: Path, created: Sequence[Mapping[str, Any]], expected: Expected, seals: Sequence[Seen], tracks: Sequence[str]
) -> Judgement:
    """`created`: the data of each distinct dataset.created, in order."""
    out = Judgement()
    newest = {one["dataset"]: one for one in created}
    sealed = {track: {key for seal in seals if seal.track == track for key in seal.keys} for track in tracks}
    for track in tracks:
        if track not in newest:
            out.faults.append(f"dataset {track}: none was ever made of {len(sealed[track])} runs")
            continue
        _judge(root / newest[track]["uri"], newest[track], expected, sealed[track], out)
    out.numbers["dataset versions"] = len(created)
    return out


def _judge(folder: Path, said: Mapping[str, Any], expected: Expected, sealed: set[str], out: Judgement) -> None:
    name = f"dataset {said['dataset']} {said['version']}"
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    out.must(
        f"{name}: files that differ", (file for file, one in manifest["files"].items() if not _same(folder / file, one))
    )
    if manifest["digest"] != said["digest"]:
        out.faults.append(f"{name}: the event's digest is not the manifest's")
    members = [
        run | stands
        for path in sorted(folder.glob("runs/*.parquet"))
        for run, stands in zip(
            pq.read_table(path, columns=["key"]).to_pylist(),
            pq.read_table(folder / "standing" / path.name).to_pylist(),
            strict=True,
        )
    ]
    known = Counter(row["key"] for row in members)
    out.must(f"{name}: runs lost", sealed - known.keys())
    out.must(f"{name}: runs that no batch had", known.keys() - sealed)
    out.must(f"{name}: runs twice", (key for key, n in known.items() if n > 1))
    out.must(f"{name}: decided otherwise", (row["key"] for row in members if not _fits(row, expected)))
    rows = [
        key for file in sorted(folder.glob("data/*.parquet")) for key in pq.read_table(file).column("key").to_pylist()
    ]
    out.must(f"{name}: rows twice", (key for key, n in Counter(rows).items() if n > 1))
    out.numbers[f"{name}: rows"] = len(rows)
    out.must(f"{name}: rows of nobody", set(rows) - known.keys())


def _same(file: Path, said: Mapping[str, Any]) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == said["sha256"]


def _fits(row: Mapping[str, Any], expected: Expected) -> bool:
    """Of several scores the dataset may have taken a later one, which falls on the same side of the gates."""
    want = expected.joined.get(row["key"])
    if want is None:
        return False
    if not want.several and (
        abs(row["quality_score"] - want.score) > FAR or abs(row["confidence"] - want.confidence) > FAR
    ):
        return False
    return want.accepted or row["decision"] == "REJECT"
