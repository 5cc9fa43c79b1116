"""The loops: batches from the bus to the buffer, and one control event at a time. The only place where fates are decided.

Order of shutdown: stop taking, finish the batch in hand, finish or abandon the event in hand, commit, leave the group, close.
A child that trains is ended first: its job starts again at the next run.
"""

from l07.runner.back_off import pause, with_back_off
from l07.runner.batches import INGEST_GROUP, at_end, ingest_step
from l07.runner.control import Handler, Routes, control_step
from l07.runner.resume import Halts, made_again, resume_from
from l07.runner.stream import Stream

__all__ = [
    "INGEST_GROUP",
    "Halts",
    "Handler",
    "Routes",
    "Stream",
    "at_end",
    "control_step",
    "ingest_step",
    "made_again",
    "pause",
    "resume_from",
    "with_back_off",
]
