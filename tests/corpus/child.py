"""The child of a `job` case: the real one, the real one without some packages, or a stand-in that fails as a child can."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l07.backends.child import ChildTrainer
from tests.corpus.cases import Case

STAND_IN = "import json, os, pathlib, signal, sys, time\njob = pathlib.Path(sys.argv[1])\n"
WITHOUT = """import importlib.util, runpy
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {hidden!r} else real(name, *rest)
runpy.run_module("l07.training", run_name="__main__", alter_sys=True)
"""


def a_trainer(case: Case, here: Path, values: Mapping[str, str]) -> ChildTrainer:
    """Writes job.json, where the case gives it as data, and says how the child starts. {here} and {digests} are filled in."""
    folder = here / "job"
    folder.mkdir(exist_ok=True)
    if "job" in case:
        text = json.dumps(case["job"])
        for name, value in {"here": str(here), **values}.items():
            text = text.replace(f"{{{name}}}", value)
        (folder / "job.json").write_text(text, "utf-8")
    script = here / "child.py"
    if "child" in case:
        script.write_text(STAND_IN + case["child"], "utf-8")
    elif "without" in case:
        script.write_text(WITHOUT.format(hidden=case["without"]), "utf-8")
    else:
        return ChildTrainer()
    return ChildTrainer(command=[sys.executable, str(script)])


class Bench:
    """A base model and a dataset that are sound; each case spoils a copy."""

    def __init__(self, folder: Path) -> None:
        from tests.training.worlds import rows_of_world, run_child, write_dataset

        self._folder = folder
        job: dict[str, Any] = {"kind": "make_base", "name": "tiny-base", "seed": 0, "threads": 1, "steps": 2}
        job |= {"from": None, "examples": None, "output": str(folder / "base")}
        made = run_child(folder / "job", job)
        self._digests = {
            "base_digest": made["digest"],
            "dataset_digest": write_dataset(folder / "dataset", rows_of_world(6, 7)),
        }

    def lend(self, here: Path) -> Mapping[str, str]:
        for name in ("base", "dataset"):
            shutil.copytree(self._folder / name, here / name)
        return self._digests
