"""Input of the benchmarks: the real events where `../shared` is there, else the generated world's."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "shared" / "tools" / "traces_to_events.py"


def lines() -> tuple[str, list[bytes]]:
    """Where they come from, and one JSON document a line."""
    if TOOL.is_file():
        done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, check=True)
        return "real runs", done.stdout.splitlines()
    from l07.domain import world

    return "generated runs", [line.encode() for line in world.stream(world.demo_runs(1400, 7), seed=7).lines]


def two_kilobytes() -> list[bytes]:
    """Traces of 1.5 to 2.5 KB."""
    return [
        line for line in lines()[1] if 1500 <= len(line) <= 2500 and b"execution.completed" in line and json.loads(line)
    ]
