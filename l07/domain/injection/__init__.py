"""Injected instructions in tool outputs, and the runs that carried them out. Before the scrub: a placeholder would hide
where a value came from.

A run that merely saw an injection is worth learning from, because it resisted. So wording alone is noted; what counts
against a run is a call with a value that it had read in such wording (or an answer that says what it was told to say).
Source of the idea: argument provenance, measured on AgentDojo (Debenedetti et al., 2024). Departure: no model judges
the text; a table of wordings in linear-time patterns does, and a scanner of the user's may add to it.
"""

from l07.domain.injection.campaign import campaigns
from l07.domain.injection.directives import Passage
from l07.domain.injection.inspection import (
    NOTED,
    NOTHING,
    THRESHOLD,
    Evidence,
    Inspection,
    Scanner,
    inspect,
    inspect_all,
)
from l07.domain.injection.scanner import scanner_named
from l07.domain.injection.weighing import NOTES, scores_of, weighed

__all__ = [
    "NOTED",
    "NOTES",
    "NOTHING",
    "THRESHOLD",
    "Evidence",
    "Inspection",
    "Passage",
    "Scanner",
    "campaigns",
    "inspect",
    "inspect_all",
    "scanner_named",
    "scores_of",
    "weighed",
]
