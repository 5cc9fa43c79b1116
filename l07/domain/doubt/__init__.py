"""What may be wrong with a run or with its score, though every gate let it pass: doubt, and no proof; it goes to
review."""

from l07.domain.doubt.copies import CountBoundCache, Held, Texts
from l07.domain.doubt.faults import FAULTS, Run
from l07.domain.doubt.judge import Doubt, doubts
from l07.domain.doubt.limits import Limits
from l07.domain.doubt.source import Attempt
from l07.domain.doubt.trail import CONSISTENCY, Reading, Trail, read

__all__ = [
    "CONSISTENCY",
    "FAULTS",
    "Attempt",
    "CountBoundCache",
    "Doubt",
    "Held",
    "Limits",
    "Reading",
    "Run",
    "Texts",
    "Trail",
    "doubts",
    "read",
]
