"""Of a track's failed jobs the newest keeps what it could go on from; why the others failed, and what they took, stays."""

from pathlib import Path

from l07.domain.checkpoint import FOLDER, LAST_GOOD
from l07.domain.job import JobState
from l07.domain.job_ledger import JobLine
from l07.errors import ChildTimedOut
from l07.pipeline.train.sweep import outdated
from tests.fakes import ScriptedTrainer
from tests.unit.pipeline.test_train import RESULT, Bench, a_version


def a_line(key: str, ident: str, state: JobState = JobState.FAILED) -> JobLine:
    return JobLine(key, 1, {"track": key.partition(":")[0]}, state=state, ident=ident)


def of(*lines: JobLine, track: str = "one") -> list[str]:
    return outdated({line.key: line for line in lines}, track)


def test_the_newest_failed_job_of_a_track_is_kept() -> None:
    old, new, other = a_line("one:1.0.0", "job-1"), a_line("one:1.1.0", "job-2"), a_line("two:1.0.0", "job-3")
    assert of(old, new, other) == ["job-1"]
    assert of(old, new, other, track="two") == []
    assert of(old) == []


def test_one_that_was_asked_for_again_is_kept_while_that_is_due() -> None:
    old, new = a_line("one:1.0.0", "job-1"), a_line("one:1.1.0", "job-2")
    asked = a_line("one:1.0.0#again.1", "", JobState.PENDING)
    assert of(old, new, asked) == []
    assert of(old, new, a_line("two:1.0.0", "job-1", JobState.TRAINING)) == [], "the same job, by another track"


def test_one_that_failed_twice_is_kept_as_the_newest() -> None:
    assert of(a_line("one:1.0.0", "job-1"), a_line("one:1.1.0", "job-2"), a_line("one:1.0.0#again.1", "job-1")) == [
        "job-2"
    ]


def test_a_job_that_has_its_result_is_none() -> None:
    assert of(a_line("one:1.0.0", "job-1", JobState.COMPLETED), a_line("one:1.1.0", "job-2")) == []


class Leaving(ScriptedTrainer):
    """A child that leaves a checkpoint and last good weights, and fails."""

    async def run(self, job_dir: Path, **more: object) -> dict[str, object]:  # type: ignore[override]
        for name in (f"{FOLDER}/step-00000004", LAST_GOOD):
            (job_dir / name).mkdir(parents=True)
            (job_dir / name / "weights").write_text("w", "utf-8")
        raise ChildTimedOut("too long")


async def test_a_job_that_fails_sweeps_those_that_failed_before_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, training__attempts=1)
    object.__setattr__(bench.desk, "trainer", Leaving([RESULT]))
    homes: list[set[Path]] = []
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        await bench.created(a_version(version, added=200))
        await bench.work()
        homes.append(set((tmp_path / "store" / "jobs").glob("job-*")))
    first, second, third = homes[0], homes[1] - homes[0], homes[2] - homes[1]
    assert [len(home) for home in (first, second, third)] == [1, 1, 1]

    def left(home: set[Path]) -> set[str]:
        (folder,) = home
        return {path.name for path in (folder / "attempt-1").iterdir()}

    assert left(third) >= {FOLDER, LAST_GOOD, "job.json"}
    for swept in (first, second):
        assert not left(swept) & {FOLDER, LAST_GOOD}
        assert left(swept) >= {"job.json", "spent.json"}
