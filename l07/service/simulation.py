"""A model that was never trained: what a simulated job leaves. It carries no weight and no figure, and says so."""

import json

from l07.domain.job import TrainingJob
from l07.domain.registry import SIMULATED
from l07.pipeline import release
from l07.service.curating import Dataset
from l07.service.folder import DataFolder
from l07.service.ingesting import now_text

KIND = "job.simulated"  # in the ledger `jobs`; it announces nothing


async def register(job: TrainingJob, dataset: Dataset, folder: DataFolder) -> str:
    """The id of the model that stands in the registry afterwards; the same job again gives the same one."""
    about = {
        "simulated": True,
        "job_id": job.job_id,
        "track": dataset.name,
        "dataset": dataset.uri,
        "dataset_version": dataset.version,
        "dataset_digest": dataset.digest,
        "asked_base_model": job.base_model,
    }
    artifact = folder.store.scratch("simulated")
    (artifact / "simulated.json").write_text(json.dumps(about, indent=1, sort_keys=True), "utf-8")
    entry = await release.register(
        name=dataset.name,
        artifact=artifact,
        lineage=about,
        base_model=job.base_model,
        rank=None,
        causationid=None,
        correlationid=None,
        registry=folder.registry,
        store=folder.store,
        key_file=folder.key_file,
        at=now_text(),
        format=SIMULATED,
        labels=(SIMULATED,),
    )
    body = {"job_id": job.job_id, "dataset": dataset.dataset_id, "model": entry.key}
    await folder.jobs.append(KIND, job.job_id, body, at=now_text())
    return entry.key
