from l07.domain.injection import weighing
from l07.domain.outliers import Strangeness
from l07.domain.preference import eligible
from l07.domain.reasons import NOTES, OTHER, stage_of
from l07.domain.scrub import SCRUBBED
from l07.service.joining import gate


def test_each_reason_is_counted_under_its_stage() -> None:
    reasons = {
        "low_score": "gates",
        "low_confidence": "gates",
        "malformed_call": "completeness",
        "no_outcome": "extraction",
        "near_duplicate": "duplicates",
        "split_conflict": "groups",
        "golden_twin": "golden",
        "contrast_cap": "caps",
        "secret_aws": "scrub",
        "personal_iban": "scrub",
        "outlier_z": "outliers",
        "doubtful_label": "doubt",
        "hijacked_argument": "injection",
    }
    assert {reason: stage_of(reason) for reason in reasons} == reasons


def test_a_reason_that_nobody_knows_is_counted_too() -> None:
    assert stage_of("of_a_later_release") == OTHER


def test_the_gates_reasons_are_those_that_the_joining_gives() -> None:
    said = gate("", 1.0, 0.1, quality_threshold=70, confidence_threshold=0.6)
    assert {stage_of(reason) for reason in said} == {"gates"}
    assert eligible("REJECT", said[:1])
    assert not eligible("REJECT", said)


def test_the_notes_of_the_stages_are_known_as_notes() -> None:
    ranked = Strangeness(rank=0.01, z=0.0)
    said = {SCRUBBED, *weighing.NOTES, *ranked.reasons(max_probability=0.1, max_z=3.5)}
    assert said <= NOTES
    assert "outlier_z" not in NOTES
