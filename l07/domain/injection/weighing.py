"""What an inspection does to a run's verdict."""

from collections.abc import Mapping

from l07.domain.injection.inspection import NOTED, THRESHOLD, Inspection
from l07.domain.quality import Verdict

SAW, CAMPAIGN = "saw_injection", "injection_campaign"  # notes: they decide nothing
NOTES = frozenset({SAW, CAMPAIGN})
_OWN = NOTES | {"hijacked_argument", "hijacked_answer"}


def weighed(verdict: Verdict, found: Inspection, *, threshold: float = THRESHOLD) -> Verdict:
    """QUARANTINE with its reasons where the run was hijacked; else the verdict, with a note of what the run read."""
    if not found.passages and _OWN.isdisjoint(verdict.reasons):
        return verdict
    notes = (*(SAW,) * (found.scan >= NOTED), *(CAMPAIGN,) * found.in_campaign)
    hijacked = found.reasons(threshold=threshold)
    others = tuple(reason for reason in verdict.reasons if reason not in _OWN)
    return Verdict("QUARANTINE" if hijacked else verdict.decision, (*others, *notes, *hijacked))


def scores_of(found: Inspection) -> Mapping[str, float]:
    """What is kept with the row: nothing for a run that read no directive at all."""
    return {"injection": found.score, "injection_scan": found.scan} if found.passages else {}
