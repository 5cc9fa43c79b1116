"""Training jobs for a caller in Python: asked for, begun in the background, looked at while they run.

One job at a time; the work is `pipeline.train.work`, with its child process, its attempts and its ledger. With
`simulate_training` a job walks through its states and nothing else: no figure, and an artifact that every gate refuses.
"""

import asyncio
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from l07.backends import curves
from l07.domain.job import JobConfig, JobState, TrainingJob
from l07.errors import ChildPreempted, L07Error, NothingByThatName
from l07.pipeline import train
from l07.pipeline.bases import resolve
from l07.pipeline.train import Desk, Queued
from l07.service import simulation
from l07.service.curating import Dataset, DatasetCurator
from l07.service.folder import with_config, with_track
from l07.service.ingesting import now_text
from l07.service.registering import ModelRegistry
from l07.service.reporting import Reporting
from l07.settings import Settings

log = logging.getLogger("l07.service")

ORDER = (JobState.INITIALIZING, JobState.PREPARING_DATA, JobState.TRAINING, JobState.VALIDATING, JobState.COMPLETED)


@dataclass(slots=True)
class Run:
    """A job that was asked for here, as it stands now."""

    job: TrainingJob
    dataset: Dataset
    queued: Queued
    settings: Settings
    progress: Mapping[str, Any] | None = None
    attempt: int = 0  # the child's own number
    judge: "Run | None" = None  # the job whose reward model this one is rewarded by
    task: asyncio.Task[None] | None = None

    @property
    def has_stopped(self) -> bool:
        """Ended without a model: asked for again, it begins again, or goes on from its last checkpoint."""
        ended = self.task is not None and self.task.done()
        return self.job.state is JobState.FAILED or (ended and self.job.state is JobState.PENDING)

    def advance(self, to: JobState, **changes: Any) -> None:
        """On to `to`, through every state between; back is no way."""
        at = ORDER.index(self.job.state) if self.job.state in ORDER else -1
        for state in ORDER[at + 1 : ORDER.index(to) + 1]:
            self.job = self.job.move(state)
        self.job = replace(self.job, **changes)

    def again(self, attempt: int) -> None:
        """A later attempt of the child."""
        if self.attempt and attempt > self.attempt:
            self.job = self.job.move(JobState.RETRYING)
        self.attempt = attempt

    def put_back(self) -> None:
        """Cut off: as if it had not begun."""
        if self.job.state is not JobState.PENDING:
            self.job = self.job.move(JobState.PENDING)

    def fail(self, code: str, message: str) -> None:
        self.job = self.job.move(JobState.FAILED, error_code=code, error_message=message)


@dataclass(slots=True)
class FineTuningEngine:
    """Jobs over the datasets of a curator, into a registry of the same data folder."""

    model_registry: ModelRegistry
    dataset_curator: DatasetCurator
    simulate_training: bool = False
    _runs: dict[str, Run] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)  # ids of all jobs of the folder
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def train_model(
        self,
        *,
        dataset_id: str,
        base_model_id: str,
        config: JobConfig | None = None,
        method: str = "",
        rewarded_by: str = "",
    ) -> TrainingJob:
        """Begins in the background and returns at once; `get_job_status` tells the rest. Asked for twice it is one.

        With `config` exactly that; without it the settings, else what the base recommends, else our defaults.
        A job's id follows from its base's files, which may have to be made first: until then it has a provisional one,
        which stays valid. `method`: another one than the track's. `rewarded_by`: the id of a job that was begun here before
        and makes the reward model of this one; where it fails, this one does.

        Raises:
            NothingByThatName: E7903, no such dataset or no such job. BaseMissing: E7710, no such base and no alias of one."""
        dataset = await self.dataset_curator.get_dataset(dataset_id)
        if not self.simulate_training:
            self._resolve(base_model_id)
        ident = self._provisional(dataset, base_model_id, config, method)
        run = self._runs.get(ident)
        if run is None or run.has_stopped:
            run = self._runs[ident] = await self._run_of(ident, dataset, base_model_id, config, method)
            run.judge = self._begun(rewarded_by) if rewarded_by else None
            run.task = asyncio.create_task(self._work(run))
        return run.job

    async def get_job_status(self, job_id: str) -> TrainingJob:
        """The job as it stands now, by its provisional or its final id.

        Raises:
            NothingByThatName: E7903, it was not asked for here."""
        run = self._begun(job_id)
        if run.task is not None and run.task.done() and not run.task.cancelled():
            run.task.result()  # a fault of ours comes out here, not in a log
        return run.job

    def _begun(self, job_id: str) -> Run:
        run = self._runs.get(job_id)
        if run is None:
            here = ", ".join(self._runs) or "none yet"
            raise NothingByThatName(f"no job {job_id} was begun here; begun were: {here}", id=job_id)
        return run

    async def wait(self, job_id: str) -> TrainingJob:
        """The job at its end."""
        job = await self.get_job_status(job_id)
        task = self._runs[job.job_id].task
        if task is not None:
            await asyncio.shield(task)
        return await self.get_job_status(job_id)

    def progress(self, job_id: str) -> Mapping[str, Any] | None:
        """The last line that the child wrote of its steps; None before the first."""
        run = self._runs.get(job_id)
        return run.progress if run else None

    async def refresh(self) -> None:
        entries = await self.dataset_curator.folder.jobs.entries()
        self._known |= {entry.body["job_id"] for entry in entries if entry.kind in ("job.attempt", simulation.KIND)}

    def statistics(self) -> dict[str, Any]:
        """Every job of the folder, those of earlier days too; states of those that were begun here."""
        runs = {id(run): run for run in self._runs.values()}.values()
        states = [run.job.state for run in runs]
        total = len(self._known | {run.job.job_id for run in runs})
        by_state = {state.value: states.count(state) for state in JobState if state in states}
        return {"total_jobs": total, "jobs_by_state": by_state}

    async def close(self) -> None:
        """Ends the children. A job that is cut off counts no attempt: asked for again, it goes on
        from its last checkpoint."""
        for run in self._runs.values():
            if run.task is not None and not run.task.done():
                run.task.cancel()
                with suppress(asyncio.CancelledError):
                    await run.task

    def _resolve(self, base_model_id: str) -> None:
        base = resolve(base_model_id, self.dataset_curator.folder.settings.models.aliases)
        if base.alias_of:
            warnings.warn(f"{base.asked} is not here: {base.name} is trained in its place", stacklevel=4)

    def _provisional(self, dataset: Dataset, base_model_id: str, config: JobConfig | None, method: str) -> str:
        asked = config.document() if config else None
        parts = [dataset.dataset_id, dataset.digest, base_model_id, asked, self.simulate_training]
        parts += [method] if method else []
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        return f"{'simulated' if self.simulate_training else 'asked'}-{digest}"

    async def _run_of(
        self, ident: str, dataset: Dataset, base_model_id: str, config: JobConfig | None, method: str
    ) -> Run:
        """A run that failed before is another line in the ledger; one that was cut off goes on under the same."""
        folder = self.dataset_curator.folder
        lead = f"{dataset.dataset_id}#{ident[-8:]}."
        ended = [e for e in await folder.jobs.entries() if e.kind == "job.ended" and e.key.startswith(lead)]
        number = 1 + sum(1 for entry in ended if entry.body["state"] == "FAILED")
        queued = Queued(
            key=f"{lead}{number}",
            track=dataset.name,
            version=dataset.version,
            uri=dataset.uri,
            digest=dataset.digest,
            cause=f"asked:{ident}",
            correlationid=None,
            method=method,
            options={} if method and method != folder.settings.track(dataset.name).method else None,
        )
        settings = with_config(with_track(folder.settings, dataset.name, base_model=base_model_id), config)
        job = TrainingJob(ident, dataset.name, dataset.dataset_id, base_model_id, config or JobConfig())
        return Run(job, dataset, queued, settings)

    async def _work(self, run: Run) -> None:
        async with self._turn:
            try:
                await (self._simulate(run) if self.simulate_training else self._train(run))
            except ChildPreempted:
                run.put_back()
            except L07Error as err:
                run.fail(err.code, err.message)
                log.warning("training_failed", extra={"job_id": run.job.job_id, "code": err.code})
            except asyncio.CancelledError:
                await train.preempted(run.queued, jobs=self.dataset_curator.folder.jobs, at=now_text())
                run.put_back()
                raise
            finally:
                await self.model_registry.refresh()
                await self.refresh()

    async def _train(self, run: Run) -> None:
        if run.judge is not None and not self._rewarded(run, run.judge.job):
            return
        run.advance(JobState.INITIALIZING)
        await train.work(run.queued, self._desk(run))
        jobs = self.dataset_curator.folder.jobs
        ended = await jobs.find("job.ended", run.queued.key)
        assert ended is not None  # work() ends a job, or raises
        ident = str(ended.body["job_id"])
        if ident.startswith("job-"):  # a base that could not be made fails under another name
            self._adopt(run, ident)
        if ended.body["state"] == JobState.FAILED:
            why = await jobs.find("training.failed", f"{ident}/{run.queued.key}")
            data = why.body["data"] if why else {}
            run.fail(data.get("code", ""), data.get("message", ""))
            return
        run.advance(JobState.COMPLETED, output_model_id=await self.model_registry.of_job(run.dataset.name, ident))

    def _rewarded(self, run: Run, judge: TrainingJob) -> bool:
        """Whether the reward model is there; jobs take their turns in the order in which they were begun."""
        if judge.state is JobState.FAILED:
            run.advance(JobState.INITIALIZING)
            run.fail(judge.error_code or "", f"its reward model could not be trained: {judge.error_message}")
        run.settings = with_track(run.settings, run.dataset.name, reward_model=judge.job_id)
        return judge.state is JobState.COMPLETED

    async def _simulate(self, run: Run) -> None:
        for state in ORDER[:-1]:
            run.advance(state)
            await asyncio.sleep(0)  # whoever looks on sees each state
        model_id = await simulation.register(run.job, run.dataset, self.dataset_curator.folder)
        run.advance(JobState.COMPLETED, output_model_id=model_id)

    def _desk(self, run: Run) -> Desk:
        folder = self.dataset_curator.folder

        async def progress(ident: str, attempt: int, number: int, line: Mapping[str, Any]) -> None:
            self._adopt(run, ident)
            run.again(attempt)
            if "state" not in line:
                run.progress = line
            run.advance(JobState(line["state"]) if line.get("state") in ORDER[:-1] else JobState.TRAINING)

        return Desk(
            folder.jobs, folder.registry, folder.store, folder.bases, folder.trainer, run.settings,
            now=now_text, publish_progress=progress, key_file=folder.key_file, meter=folder.meter, draw=curves.write,
            watcher=partial(Reporting, folder.trackers),
        )  # fmt: skip

    def _adopt(self, run: Run, ident: str) -> None:
        """The id that the job has in the ledger, once it is known."""
        self._runs[ident] = run
        run.job = replace(run.job, job_id=ident)
