"""Ask candidate and baseline for held-out tool calls, the candidate for canaries, both for speed; decide nothing."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch

from l07.domain.measurements import Answer, Call, Measurements, Row
from l07.training.files import fresh_partial, publish
from l07.training.measure.answers import answers_of
from l07.training.measure.memory import exposures
from l07.training.measure.model import load
from l07.training.measure.questions import HeldOut, Question, held_out_rows, questions_of
from l07.training.measure.speed import race
from l07.training.progress import ProgressFile
from l07.training.rows import check_dataset


def run(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes measurements.json into the job's output. The same job gives the same answers; only times differ.

    Raises:
        DatasetDiffers: E7722. BadJob: the golden set cannot be read."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    progress = ProgressFile(folder)
    if job.get("dataset_digest"):
        check_dataset(Path(job["dataset"]), job["dataset_digest"])
    clock = _Clock()
    with clock("load"):
        candidate = load(job["candidate"])
        baseline = load(job["baseline"]) if job["baseline"] else None
        held_out = held_out_rows(job, folder)
    progress.state("ANSWERING")
    with clock("answers"):
        questions, skipped = questions_of(held_out, [candidate, *([baseline] if baseline else [])], job)
        mine = answers_of(candidate, questions, progress)
        theirs = answers_of(baseline, questions, progress) if baseline else None
    progress.state("CANARIES")
    with clock("canaries"):
        known = exposures(candidate, job["canaries"]) if job["canaries"] else None
    progress.state("LATENCY")
    with clock("latency"):
        pairs = race(candidate, baseline, questions, job["latency"]) if baseline else ()
    return _write(
        Path(job["output"]),
        Measurements(
            rows=tuple(rows_of(held_out, questions, mine, theirs)), has_baseline=baseline is not None, canaries=known,
            latency=pairs, golden=job["golden"] is not None, skipped=skipped, seconds=clock.seconds,
        ),
    )  # fmt: skip


def _write(output: Path, measured: Measurements) -> dict[str, Any]:
    partial = fresh_partial(output)
    text = msgspec.json.encode(measured)
    (partial / "measurements.json").write_bytes(text)
    publish(partial, output)
    calls = sum(len(row.calls) for row in measured.rows)
    return {
        "measurements": "measurements.json", "digest": hashlib.sha256(text).hexdigest(),
        "rows": len(measured.rows), "calls": calls, "phases": measured.seconds,
    }  # fmt: skip


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)


def rows_of(
    held_out: Sequence[tuple[HeldOut, bool]],
    questions: Sequence[Question],
    mine: Sequence[Answer],
    theirs: Sequence[Answer] | None,
) -> Iterator[Row]:
    calls: dict[int, list[Call]] = {}
    for number, question in enumerate(questions):
        answer = Call(question.message, question.name, mine[number], theirs[number] if theirs else None)
        calls.setdefault(question.row, []).append(answer)
    for index, answers in calls.items():
        about, name = held_out[index][0].about, held_out[index][0].set
        set_: Any = name
        yield Row(
            set_, about["key"], about["group"], about.get("domain") or "", about.get("difficulty"), tuple(answers)
        )
