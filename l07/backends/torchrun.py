"""Training in several processes, on one machine or many, as torchrun starts them: the port Trainer.

Only the children that train are many; one that makes a base, merges or evaluates is one process. Other machines see the
data folder under the same path, and run `python -m l07.training.launch --node N ...` (`docs/training.md`).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from l07.backends.child import GRACE_S, ChildTrainer, read_job
from l07.errors import TrainExtraMissing
from l07.ports import Progress


@dataclass(frozen=True, slots=True)
class TorchrunTrainer:
    """`processes` on each of `nodes` machines; `rendezvous`: HOST:PORT of this one, where it is not alone. A job that says
    that one process trains it (`ranks` is absent) is trained by one."""

    processes: int
    nodes: int = 1
    rendezvous: str = ""
    grace_s: float = GRACE_S
    python: str = sys.executable

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        """As `ChildTrainer.run`; whichever of the processes ends, all end. Raises what that raises, and RanksUnfit (E7746)."""
        if int(read_job(job_dir).get("ranks") or 1) == 1:
            return await ChildTrainer(grace_s=self.grace_s).run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
        if find_spec("torch") is None:
            raise TrainExtraMissing("torch cannot be found: pip install 'l07[train]'")
        among = ["--processes", str(self.processes), "--nodes", str(self.nodes), "--grace-s", str(self.grace_s)]
        where = ["--rendezvous", self.rendezvous] if self.rendezvous else []
        command = (self.python, "-m", "l07.training.launch", *among, *where)
        # a rank has the grace time; who waits for all of them a little more
        many = ChildTrainer(command=command, grace_s=self.grace_s + 5)
        return await many.run(job_dir, timeout_s=timeout_s, on_progress=on_progress)
