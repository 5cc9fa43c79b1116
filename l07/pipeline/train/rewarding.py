"""The reward model that a policy's job is rewarded by: the one that the track names, or the newest that its jobs made."""

from collections.abc import Iterable, Mapping
from typing import Any

from l07.domain.job_ledger import COMPLETED
from l07.domain.methods import METHODS
from l07.errors import RewardModelMissing
from l07.pipeline import attempts
from l07.pipeline.bases import Base
from l07.ports import ArtifactStore, Entry
from l07.settings import Settings


def needed(method: str, options: Mapping[str, float]) -> bool:
    """Whether a job of this method is rewarded by a model: `reward_weight` above 0 says so."""
    return METHODS[method].feed == "prompts" and options["reward_weight"] > 0


def reward_model(
    track: str, base: Base, *, entries: Iterable[Entry], store: ArtifactStore, settings: Settings
) -> dict[str, Any]:
    """What the job's job.json says of it, and what its id and its model's lineage follow from.

    Raises:
        RewardModelMissing: E7311, no job made one, the one named did not, or its files are gone; says how to get one."""
    named = settings.tracks[track].reward_model
    made = [e.body["data"] for e in entries if e.kind == COMPLETED and _scores(e.body["data"])]
    found = [data for data in made if (data["job_id"] == named if named else data["track"] == track)]
    if not found:
        known = ", ".join(str(data["job_id"]) for data in made[-3:]) or "none yet"
        wanted = f"{named} made no reward model" if named else f"no job of track {track} made a reward model"
        raise RewardModelMissing(f"{wanted}; there are: {known}. {_way_out(track)}")
    for data in reversed(found):
        home = store.path(f"jobs/{data['job_id']}")
        result = attempts.finished(home)
        if result is not None:
            return _told(data, str(attempts.output(home, result)), base)
    raise RewardModelMissing(f"the files of the reward model of {found[-1]['job_id']} are gone; {_way_out(track)}")


def _told(data: Mapping[str, Any], folder: str, base: Base) -> dict[str, Any]:
    return {
        "job_id": data["job_id"], "digest": data["digest"], "dataset": f"{data['track']}:{data['dataset_version']}",
        "folder": folder, "base": str(base.folder), "base_digest": base.digest,
    }  # fmt: skip


def _scores(data: Mapping[str, Any]) -> bool:
    method = METHODS.get(str(data.get("method")))
    return method is not None and method.makes == "scorer"


def _way_out(track: str) -> str:
    return (
        f"`l07 train {track} --method reward` makes one, tracks.{track}.reward_model names another job's, and the option "
        "reward_weight=0 does without"
    )
