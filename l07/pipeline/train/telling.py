"""What a tracker is told of an attempt, besides its steps."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.domain.base import setting
from l07.pipeline.train.due import Queued


class Nobody:
    """ports.Watcher where no tracker is set."""

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        return

    def tell(self, line: Mapping[str, Any]) -> None:
        return

    async def end(self, state: str) -> None:
        return


def about(job: Queued, own: Path) -> dict[str, Any]:
    """Names and values of what is trained, from the attempt's job.json: no path, no row."""
    spec = json.loads((own / "job.json").read_text("utf-8"))
    told = {"track": job.track, "dataset": f"{job.track}:{job.version}"}
    told |= {name: spec.get(name) for name in ("method", "seed", "threads", "base_digest", "dataset_digest")}
    config = {name: setting(spec["config"], name) for name in spec["origins"]}
    return {**told, **config, **{f"option.{name}": value for name, value in spec["options"].items()}}
