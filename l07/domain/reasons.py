"""Which stage of the filter a reason comes from: for counting, never for deciding."""

from l07.domain.quality import COMPLETENESS

STAGES = {
    "gates": ("low_score", "low_confidence"),
    "completeness": tuple(sorted(COMPLETENESS)),
    "extraction": ("no_outcome", "no_steps", "no_messages", "no_assistant", "unknown_role", "bad_arguments"),
    "duplicates": ("exact_duplicate", "near_duplicate"),
    "groups": ("split_conflict",),
    "golden": ("golden_twin",),
    "caps": ("cap", "contrast_cap", "task_cap"),
}
PREFIXES = (
    ("secret_", "scrub"),
    ("personal_", "scrub"),
    ("scrubbed", "scrub"),
    ("outlier_", "outliers"),
    ("doubt", "doubt"),
    ("inject", "injection"),
    ("saw_injection", "injection"),
    ("hijack", "injection"),
)
OTHER = "other"
NOTES = frozenset(
    {"scrubbed", "saw_injection", "injection_campaign", "outlier_rank", "outlier_not_judged", "doubt_not_judged"}
)  # they say what was seen, and move no row

_STAGE_OF = {reason: stage for stage, reasons in STAGES.items() for reason in reasons}


def stage_of(reason: str) -> str:
    """The stage's name; "other" for a reason that no stage of this release gives."""
    found = _STAGE_OF.get(reason)
    return found or next((stage for prefix, stage in PREFIXES if reason.startswith(prefix)), OTHER)
