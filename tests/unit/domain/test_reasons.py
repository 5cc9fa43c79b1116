from l07.domain.reasons import OTHER, stage_of


def test_each_reason_is_counted_under_its_stage() -> None:
    reasons = {
        "quality_score": "gates", "malformed_call": "completeness", "no_outcome": "extraction",
        "near_duplicate": "duplicates", "split_conflict": "groups", "golden_twin": "golden", "contrast_cap": "caps",
        "secret_aws": "secrets", "outlier_z": "outliers", "doubtful_label": "doubt", "hijacked_argument": "injection",
        "saw_injection": "injection", "injection_campaign": "injection",
    }  # fmt: skip
    assert {reason: stage_of(reason) for reason in reasons} == reasons


def test_a_reason_that_nobody_knows_is_counted_too() -> None:
    assert stage_of("of_a_later_release") == OTHER
