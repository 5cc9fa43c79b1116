"""`l07 train`: ask for a job by hand."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from l07.cli import INTERRUPTED
from l07.cli.access import loaded, person
from l07.cli.console import Console
from l07.cli.run import Teller
from l07.cli.watch import Line, follow, show
from l07.errors import BadTraining
from l07.settings import Settings

if TYPE_CHECKING:
    from l07.domain.job_ledger import JobLine
    from l07.pipeline.train import Answer


def train(args: argparse.Namespace, console: Console) -> int:
    """With --wait exit 0 is a completed job. Raises NothingByThatName E7903, DatasetRevoked E7122, BadTraining E7911."""
    from l07.pipeline.train import Asked
    from l07.service.asking import ask

    settings = loaded(args).settings
    track, version = which(args.track, args.dataset, settings)
    options = numbers(args.option)
    asked = Asked(track, version, args.method, options, args.priority, person())
    answer = asyncio.run(ask(settings, asked))
    if not args.wait:
        _say(answer, console)
        return 0
    console.note(_text(answer))
    return _wait(settings, answer, console)


def which(track: str | None, dataset: str | None, settings: Settings) -> tuple[str, str | None]:
    """Track and version. Raises BadTraining (E7911) where they do not fit, or where it is not clear which track."""
    of_dataset, _, version = (dataset or "").partition(":")
    if track and of_dataset and track != of_dataset:
        raise BadTraining(f"{dataset} is no dataset of the track {track}", track=track, dataset=dataset)
    named = track or of_dataset
    if not named and "default" not in settings.tracks and len(settings.tracks) > 1:
        raise BadTraining(f"which track? There are {', '.join(settings.tracks)}")
    only = "default" if "default" in settings.tracks else next(iter(settings.tracks))
    return named or only, version or None


def numbers(options: Sequence[str]) -> Mapping[str, float]:
    """`name=value`, each. Raises BadTraining (E7911)."""
    found: dict[str, float] = {}
    for option in options:
        name, _, text = option.partition("=")
        try:
            found[name.strip()] = float(text)
        except ValueError as err:
            raise BadTraining(f"--option {option}: it must be NAME=NUMBER, such as beta=0.1") from err
    return found


def _say(answer: "Answer", console: Console) -> None:
    if console.as_json:
        console.data(_document(answer))
    else:
        console.line(_text(answer))


def _document(answer: "Answer") -> dict[str, object]:
    found = {
        "job": answer.job_id or answer.key, "key": answer.key, "state": answer.standing, "new": answer.is_new, "method": answer.method,
    }  # fmt: skip
    return found | ({"model": answer.model} if answer.model else {})


def _text(answer: "Answer") -> str:
    name = f"{answer.key} ({answer.job_id})" if answer.job_id else answer.key
    if answer.is_new:
        return f"queued {name}, method {answer.method}; `l07 jobs list` shows it, and a running `l07 run` or trainer does it"
    model = f": the model is {answer.model}" if answer.model else ""
    return f"nothing is queued: the same job is there already as {name}, {answer.standing}{model}"


def _wait(settings: Settings, answer: "Answer", console: Console) -> int:
    from l07.service.asking import work_until_over

    if not asyncio.run(work_until_over(settings, answer.key, Teller(console))):
        _until_over(settings, answer.key, console)
    job = asyncio.run(_standing(settings, answer.key))
    if not job.is_settled:
        return INTERRUPTED
    if console.as_json:
        console.data({**_document(answer), "job": job.ident or job.key, "state": job.standing} | _why(job))
    else:
        console.line(f"job {job.ident or job.key}: {' '.join([job.standing, *_why(job).values()])}")
    return 0 if job.standing == "COMPLETED" else 1


def _why(job: "JobLine") -> dict[str, str]:
    return {name: text for name in ("code", "reason") if (text := getattr(job, name))}


def _until_over(settings: Settings, key: str, console: Console) -> None:
    """Somebody else works on it: shown as `l07 jobs watch` does, where there is a terminal."""
    lines = follow(settings, key)
    asyncio.run(show(lines, console) if console.is_terminal else _wait_out(lines))


async def _wait_out(lines: AsyncIterator[Line]) -> str:
    """The state in which the job ended."""
    states = [str(line["state"]) async for line in lines if "state" in line]
    return states[-1]


async def _standing(settings: Settings, key: str) -> "JobLine":
    from l07.service.asking import standing

    return await standing(settings, key)
