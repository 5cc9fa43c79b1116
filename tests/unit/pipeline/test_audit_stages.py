"""Precision of the stages: of what each removed, what was known to be spoiled."""

from l07.pipeline.audit.figures import Fact, share
from l07.pipeline.audit.page import _over_all, _right
from l07.pipeline.audit.stages import stages


def a_fact(key: str, *reasons: str, **said) -> Fact:
    told = {"source": "home", "passed": True, "decision": "REVIEW", "table": "review", "reasons": reasons}
    return Fact(**({"key": key} | told | said))


FACTS = [
    a_fact("bad1", "outlier_z", kind="noise", fault="loop"),
    a_fact("bad2", "outlier_z", "doubtful", kind="noise", fault="loop"),
    a_fact("known", "doubtful", kind="real hijack", fault="hijack", real=True),
    a_fact("clean", "outlier_z"),
    a_fact("stays", "outlier_z", kind="resisted", fault="resisted"),
    a_fact("elsewhere", "outlier_z", source="shop"),
    a_fact("copy", "exact_duplicate", kind="repeats", fault="exact_repeat", decision="ACCEPT", table=""),
    a_fact("kept", "outlier_z", decision="ACCEPT", table="train"),
    a_fact("waits", "outlier_z", built=False),
    a_fact("gated", "low_score", "outlier_z", passed=False, decision="REJECT", table="contrast"),
    a_fact("noted", "scrubbed", "near_duplicate", decision="ACCEPT", table=""),
]


def test_what_a_stage_removed_is_right_where_a_plant_or_a_label_says_so() -> None:
    found = {(line["stage"], line["source"]): line for line in stages(FACTS)}
    assert {name: (line["right"]["count"], line["right"]["n"]) for name, line in found.items()} == {
        ("doubt", "home"): (2, 2),
        ("duplicates", "home"): (1, 2),
        ("outliers", "home"): (2, 4),
        ("outliers", "shop"): (0, 1),
        ("outliers", "all"): (2, 5),
    }
    assert found[("outliers", "home")]["of"] == {"noise": 2, "clean": 1, "resisted": 1}
    assert found[("outliers", "all")]["right"] == share(2, 5)


def test_what_no_reason_tells_is_nobody_s() -> None:
    [line] = stages([a_fact("x"), a_fact("y", "scrubbed")])
    assert (line["stage"], line["right"]["n"]) == ("other", 2)
    assert stages([]) == []


def test_the_page_draws_a_bar_a_stage_with_its_interval_and_lists_the_sources() -> None:
    lines = stages(FACTS)
    assert [(line["stage"], line["source"]) for line in _over_all(lines)] == [
        ("doubt", "home"), ("duplicates", "home"), ("outliers", "all"),
    ]  # fmt: skip
    page = _right(lines)
    assert "40.0 %  (2/5)" in page
    assert "[11.8, 76.9] 2/5" in page
    assert "<td>shop</td>" in page
    assert "noise 2, clean 1, resisted 1" in page
    assert _right([]) == ""
