"""A budget ends a run with its own code, says what was spent and how to go on; what an attempt took is noted however it ends."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from l07.domain.cost import Spent
from l07.errors import BadSetting, BudgetSpent, ChildKilled, ChildTimedOut
from l07.pipeline import attempts, train
from l07.ports import Progress
from tests.fakes import ScriptedTrainer
from tests.unit.pipeline.test_train import AT, RESULT, Bench, a_version, settings


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowTrainer(ScriptedTrainer):
    """Each run takes `takes_s` of the clock, or its time limit where that is less."""

    clock: Clock = field(default_factory=Clock)
    takes_s: float = 10.0
    limits: list[float | None] = field(default_factory=list)

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        self.limits.append(timeout_s)
        if timeout_s is not None and timeout_s < self.takes_s:
            self.clock.now += timeout_s
            raise ChildTimedOut(f"the job took longer than {timeout_s:g} s and was ended")
        self.clock.now += self.takes_s
        return await super().run(job_dir, timeout_s=timeout_s, on_progress=on_progress)


async def a_bench(tmp_path: Path, *answers: Any, **overrides: Any) -> tuple[Bench, SlowTrainer]:
    bench = Bench(tmp_path, **overrides)
    trainer = SlowTrainer(list(answers) or [RESULT])
    joules = iter(range(0, 10_000, 50))
    bench.trainer = trainer
    bench.desk = replace(bench.desk, trainer=trainer, clock=trainer.clock, meter=lambda: float(next(joules)))
    await bench.created(a_version())
    return bench, trainer


def last(bench: Bench, kind: str) -> dict[str, Any]:
    return next(dict(line.body["data"]) for line in reversed(bench.jobs.lines) if line.kind == kind)


async def test_a_completed_job_says_what_it_took_and_what_that_costs(tmp_path: Path) -> None:
    bench, _ = await a_bench(
        tmp_path, ChildKilled("SIGKILL"), RESULT, training__price_per_hour=36.0, training__currency="EUR"
    )
    await bench.work()
    done = last(bench, "training.completed")
    assert (done["spent_s"], done["cost"], done["currency"], done["energy_j"], done["method"]) == (
        20.0, 0.2, "EUR", 100.0, "sft",
    ), "both attempts"  # fmt: skip
    lineage = bench.registry.lines[0].body["data"]["lineage"]
    assert lineage["cost"] == {"tokens": 10, "spent_s": 20.0, "cost": 0.2, "currency": "EUR", "energy_j": 100.0}


async def test_without_a_price_and_without_counters_there_are_seconds_only(tmp_path: Path) -> None:
    bench, _ = await a_bench(tmp_path)
    bench.desk = replace(bench.desk, meter=lambda: None)
    await bench.work()
    done = last(bench, "training.completed")
    assert done["spent_s"] == 10.0
    assert {"cost", "currency", "energy_j"} & done.keys() == set()


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"training__budget_s": 4.0}, "training.budget_s = 4 s"),
        ({"training__budget_cost": 0.04, "training__price_per_hour": 36.0}, "training.budget_cost = 0.04 USD"),
        ({"training__month_budget_s": 4.0}, "training.month_budget_s = 4 s"),
        ({"training__month_budget_cost": 0.04, "training__price_per_hour": 36.0}, "training.month_budget_cost"),
    ],
)
async def test_a_budget_ends_the_run_and_says_how_to_go_on(
    tmp_path: Path, overrides: dict[str, Any], name: str
) -> None:
    bench, trainer = await a_bench(tmp_path, **overrides)
    await bench.work()
    failed = last(bench, "training.failed")
    assert (failed["code"], failed["again"], failed["attempts"], failed["spent_s"]) == (BudgetSpent.code, False, 1, 4.0)
    assert name in failed["message"]
    assert "4.0 s" in failed["message"]
    assert "l07 train default --dataset default:1.0.0" in failed["message"]
    assert trainer.limits == [4.0]
    assert await bench.due() == []


async def test_a_time_limit_below_the_budget_is_a_time_limit(tmp_path: Path) -> None:
    bench, _ = await a_bench(tmp_path, training__budget_s=9.0, training__timeout_s=5.0)
    await bench.work()
    failed = [line.body["data"] for line in bench.jobs.lines if line.kind == "training.failed"]
    ends = [(one["code"], one["again"]) for one in failed]
    assert ends == [(ChildTimedOut.code, True), (BudgetSpent.code, False)], "the second attempt had 4 s left"


async def test_attempts_share_a_budget(tmp_path: Path) -> None:
    bench, trainer = await a_bench(tmp_path, ChildKilled("SIGKILL"), RESULT, training__budget_s=15.0)
    await bench.work()
    assert trainer.limits == [15.0, 5.0]
    failed = last(bench, "training.failed")
    assert (failed["code"], failed["attempts"], failed["spent_s"]) == ("E7730", 2, 15.0)


async def test_asked_for_again_with_a_larger_budget_the_same_job_goes_on(tmp_path: Path) -> None:
    bench, trainer = await a_bench(tmp_path, training__budget_s=4.0)
    await bench.work()
    bench.settings = settings(tmp_path, tracks__default__base_model=str(bench.base), training__budget_s=40.0)
    bench.desk = replace(bench.desk, settings=bench.settings)
    answer = await train.ask(
        train.Asked("default"), jobs=bench.jobs, datasets=bench.datasets, registry=bench.registry, bases=bench.desk.bases,
        settings=bench.settings, at=AT,
    )  # fmt: skip
    assert answer.is_new
    await bench.work()
    assert trainer.limits == [4.0, 36.0], "what was spent before counts"
    assert last(bench, "training.completed")["spent_s"] == 14.0
    started = [line.body["data"]["job_id"] for line in bench.jobs.lines if line.kind == "training.started"]
    assert len(set(started)) == 1
    assert len(started) == 2, "each attempt is told"


async def test_a_spent_budget_begins_no_attempt(tmp_path: Path) -> None:
    bench, trainer = await a_bench(tmp_path, training__month_budget_s=15.0)
    await bench.work()
    await bench.created(a_version("1.1.0", added=600))
    await bench.work()
    await bench.created(a_version("1.2.0", added=600))
    await bench.work()
    codes = [line.body["data"]["attempts"] for line in bench.jobs.lines if line.kind == "training.failed"]
    assert trainer.limits == [15.0, 5.0]
    assert codes == [1, 0]


async def test_a_month_that_is_over_does_not_count(tmp_path: Path) -> None:
    bench, trainer = await a_bench(tmp_path, training__month_budget_s=15.0)
    await bench.work()
    before = datetime.fromisoformat(bench.now()).replace(day=1, hour=0, minute=0).timestamp() - 1
    for path in (tmp_path / "store" / "jobs").rglob("job.json"):
        os.utime(path, (before, before))
    await bench.created(a_version("1.1.0", added=600))
    await bench.work()
    assert trainer.limits == [15.0, 15.0]


@pytest.mark.parametrize("name", ["training__budget_cost", "training__month_budget_cost"])
def test_a_budget_in_money_without_a_price_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSetting, match="price_per_hour"):
        settings(tmp_path, **{name: 1.0})


# ------------------------------------------------------------------ what an attempt took


async def test_what_is_cut_off_is_noted_too(tmp_path: Path) -> None:
    bench, trainer = await a_bench(tmp_path)
    gone = asyncio.Event()

    async def for_ever(*_: Any, **__: Any) -> Mapping[str, Any]:
        trainer.clock.now += 3.0
        gone.set()
        await asyncio.Event().wait()
        return {}

    trainer.run = for_ever  # type: ignore[method-assign,assignment]
    work = asyncio.create_task(bench.work())
    await gone.wait()
    work.cancel()
    await asyncio.wait({work})
    (folder,) = (tmp_path / "store" / "jobs").iterdir()
    assert Spent.total(attempts.spent(folder)) == Spent(3.0, 50.0)


def test_of_an_attempt_whose_trainer_was_killed_the_files_tell_at_least_how_long_it_was(tmp_path: Path) -> None:
    own = attempts.begin(tmp_path / "job-1", {"kind": "train"})
    (own / "progress.jsonl").write_text('{"state": "TRAINING"}\n')
    os.utime(own / "job.json", (1000.0, 1000.0))
    os.utime(own / "progress.jsonl", (1007.5, 1007.5))
    assert attempts.spent(tmp_path / "job-1") == [Spent(7.5, None)]
    (own / "progress.jsonl").unlink()
    assert attempts.spent(tmp_path / "job-1") == [Spent(0.0, None)]


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    own = attempts.begin(tmp_path / "job-1", {"kind": "train"})
    for text in ("{", "[]", '{"seconds": "x"}', '{"seconds": 1.0}'):
        (own / "spent.json").write_text(text)
        assert attempts.spent(tmp_path / "job-1") == [Spent(0.0, None)]
    attempts.note_spent(own, Spent(2.0, 5.0))
    assert attempts.spent(tmp_path / "job-1") == [Spent(2.0, 5.0)]


# ------------------------------------------------------------------ curves


async def test_curves_are_drawn_after_each_attempt_however_it_ended(tmp_path: Path) -> None:
    bench, _ = await a_bench(tmp_path, ChildKilled("SIGKILL"), RESULT)
    drawn: list[list[str]] = []
    bench.desk = replace(bench.desk, draw=lambda folder: drawn.append(sorted(own.name for own in folder.iterdir())))
    await bench.work()
    assert drawn == [["attempt-1"], ["attempt-1", "attempt-2"]]
