"""`l07 cost`: what every job took, and what its model gained for it."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l07.cli.access import loaded
from l07.cli.console import Console
from l07.cli.things import all_views
from l07.cli.views import View
from l07.domain.cost import Gain, Line, Price, Spent, Sums, Total
from l07.errors import NothingByThatName
from l07.settings import Settings

COLUMNS = (
    "job",
    "dataset",
    "method",
    "state",
    "seconds",
    "tokens",
    "energy",
    "cost",
    "model",
    "gain in points",
    "cost a point",
)


def cost(args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName: E7903, a track that is neither in the settings nor in the ledger."""
    settings = loaded(args).settings
    lines = asyncio.run(read_lines(settings))
    tracks = list(dict.fromkeys([line.track for line in lines]))
    if args.track is not None:
        if args.track not in {*tracks, *settings.tracks}:
            raise NothingByThatName(
                f"there is no track {args.track}; there are {', '.join(settings.tracks)}", id=args.track
            )
        tracks, lines = [args.track], [line for line in lines if line.track == args.track]
    sums = {track: Sums.of([line for line in lines if line.track == track]) for track in tracks}
    if console.as_json:
        console.data(_document(lines, sums))
    else:
        _print(lines, sums, console)
    return 0


async def read_lines(settings: Settings) -> list[Line]:
    """Every job of the ledger that was begun, oldest first."""
    views = await all_views(settings)
    models = {str(model["lineage"].get("job_id")): model for model in views["models"].values()}
    begun = [job for job in views["jobs"].values() if str(job["id"]).startswith("job-")]
    return [_line(settings, job, models.get(str(job["id"]), {})) for job in begun]


def _line(settings: Settings, job: View, model: View) -> Line:
    """What the ledger recorded counts; what it has not is read from the job's folder, at today's price."""
    ended: Mapping[str, Any] = job.get("completed") or job.get("failed") or {}
    price = Price(settings.training.price_per_hour, settings.training.currency)
    spent = (
        _from_folder(settings, str(job["id"]))
        if ended.get("spent_s") is None
        else Spent(ended["spent_s"], ended.get("energy_j"))
    )
    recorded = ended.get("cost") is not None
    seconds = spent.seconds if spent else ended.get("seconds")
    return Line(
        job=str(job["id"]), track=str(job["dataset"]).rpartition(":")[0], dataset=str(job["dataset"]), method=str(job.get("method") or ""),
        state=str(job["state"]), seconds=seconds, tokens=ended.get("tokens"), joules=spent.joules if spent else None,
        cost=ended["cost"] if recorded else price.cost(seconds),
        currency=str(ended["currency"]) if recorded else price.currency,
        model=str(model.get("id") or ""), gain=Gain.of(model.get("validated")),
    )  # fmt: skip


def _from_folder(settings: Settings, job: str) -> Spent | None:
    from l07.backends.open import open_store
    from l07.pipeline.attempts import spent

    folder: Path = open_store(settings).path(f"jobs/{job}")
    parts = spent(folder)
    return Spent.total(parts) if parts else None


# ------------------------------------------------------------------ what is printed


def _document(lines: Sequence[Line], sums: Mapping[str, Sums]) -> dict[str, Any]:
    jobs = []
    for line in lines:
        point = line.per_point
        jobs.append({**asdict(line), "per_point": asdict(point) if point else None})
    return {
        "jobs": jobs,
        "tracks": {track: asdict(one) for track, one in sums.items()},
        "total": asdict(Sums.of(lines)),
    }


def _print(lines: Sequence[Line], sums: Mapping[str, Sums], console: Console) -> None:
    rows = [_row(line) for line in lines]
    shown = [number for number, _ in enumerate(COLUMNS) if any(row[number] is not None for row in rows)]
    console.table([COLUMNS[n] for n in shown], [[row[n] for n in shown] for row in rows])
    if not lines:
        console.line("no job was begun yet")
        return
    both = {**sums, "all tracks": Sums.of(lines)} if len(sums) > 1 else sums
    names = ("track", "jobs", "seconds", "tokens", "energy", "cost")
    console.table(names, [_sum_row(track, one) for track, one in both.items()], title="\nsums")


def _row(line: Line) -> list[object]:
    gain, point = line.gain, line.per_point
    return [
        line.job, line.dataset, line.method or None, line.state, line.seconds, line.tokens, _energy(line.joules),
        None if line.cost is None else f"{line.cost:.4g} {line.currency}",
        line.model or None,
        None if gain is None else f"{gain.points:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}], n {gain.n}",
        None if point is None else _per_point(point.cost, point.low, point.high, line.currency),
    ]  # fmt: skip


def _per_point(cost: float | None, low: float | None, high: float | None, currency: str) -> str:
    if low is None:
        return "no gain"
    upper = "no bound" if high is None else f"{high:.3g}"
    return f"{'no gain' if cost is None else f'{cost:.3g}'} [{low:.3g}, {upper}] {currency}"


def _energy(joules: float | None) -> str | None:
    return None if joules is None else f"{joules / 3600:.3g} Wh"


def _sum_row(track: str, sums: Sums) -> list[object]:
    energy = (
        sums.joules
        if sums.joules.value is None
        else Total(sums.joules.value / 3600, sums.joules.measured, sums.joules.of)
    )
    costs = "; ".join(_total(total, f" {currency}") for currency, total in sums.costs.items())
    return [track, sums.jobs, _total(sums.seconds), _total(sums.tokens), _total(energy, " Wh"), costs or "no price"]


def _total(total: Total, unit: str = "") -> str:
    """A sum of some says of how many."""
    if total.value is None:
        return "not measured"
    return f"{total.value:.6g}{unit}" + ("" if total.measured == total.of else f" ({total.measured} of {total.of})")
