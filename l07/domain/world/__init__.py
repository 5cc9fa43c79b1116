"""A generated world of service desks for the demo and the tests: tasks, tools, a policy, agents that keep it or break it, and their events.

Everything is a function of a seed. What the evaluator says of a run is drawn around the run's real outcome: a noise model
of this world's evaluator, and nothing more.
"""

from l07.domain.world.emit import Noise, Stream, stream
from l07.domain.world.neighbours import documents, drills
from l07.domain.world.runs import (
    AGENTS,
    DOMAINS,
    TASKS,
    Run,
    Task,
    demo_runs,
    golden,
    mixed_runs,
    run,
    task,
    tool_schemas,
)

__all__ = [
    "AGENTS",
    "DOMAINS",
    "TASKS",
    "Noise",
    "Run",
    "Stream",
    "Task",
    "demo_runs",
    "documents",
    "drills",
    "golden",
    "mixed_runs",
    "run",
    "stream",
    "task",
    "tool_schemas",
]
