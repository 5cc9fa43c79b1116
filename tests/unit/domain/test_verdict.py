from dataclasses import replace

import msgspec
import pytest

from l07.domain.measurements import Measurements, Row, decode
from l07.domain.verdict import STAGES, Margins, Plan, Verdict, as_data, decide
from tests.measured import a_row, an_answer, canaries, measured, pairs, rows_of

PLAN = Plan(resamples=600, seed=1)


def judge(**changes: object) -> Verdict:
    return decide(measured(**changes), PLAN)


def rows(test: list[Row], golden: list[Row] | None = None) -> dict[str, object]:
    return {"rows": (*test, *(rows_of(150, 0.9, 0.5, set="golden") if golden is None else golden))}


def status(verdict: Verdict) -> dict[str, str]:
    return {stage.name: stage.status for stage in verdict.stages}


def test_a_better_model_with_enough_evidence_is_deployed():
    verdict = judge()
    assert verdict.decision == "DEPLOY"
    assert set(status(verdict).values()) == {"PASS"}
    assert tuple(status(verdict)) == STAGES
    assert verdict.reasons == ()


def test_the_same_measurements_give_the_same_verdict():
    assert judge() == judge()


# ------------------------------------------------------------------ regression


def test_without_a_golden_set_the_verdict_is_review_and_says_what_is_needed():
    verdict = judge(rows=tuple(rows_of(120, 0.9, 0.5)), golden=False)
    stage = verdict.stage("regression")
    assert (verdict.decision, stage.status, stage.worst.n, stage.passed) == ("REVIEW", "INCONCLUSIVE", 0, False)
    assert stage.worst.needed_n == 122
    assert "no golden set" in stage.errors[0]


@pytest.mark.parametrize(
    ("n", "candidate", "expected"),
    [
        (150, 0.8, "PASS"),
        (20, 0.8, "INCONCLUSIVE"),
        (150, 0.6, "FAIL"),
        (150, 0.76, "INCONCLUSIVE"),
        (9, 0.8, "INCONCLUSIVE"),
    ],
)
def test_regression_looks_at_the_lower_bound_of_the_golden_set(n, candidate, expected):
    stage = judge(**rows(rows_of(120, 0.9, 0.5), rows_of(n, candidate, 0.8, set="golden"))).stage("regression")
    assert stage.status == expected
    assert (stage.worst.needed_n is None) == (expected != "INCONCLUSIVE")


def test_regression_does_not_look_at_the_test_split():
    assert judge(**rows(rows_of(120, 0.1, 0.5))).stage("regression").status == "PASS"


# ------------------------------------------------------------------ benchmark


@pytest.mark.parametrize(
    ("candidate", "expected"), [(0.9, "PASS"), (0.5, "INCONCLUSIVE"), (0.51, "INCONCLUSIVE"), (0.2, "FAIL")]
)
def test_benchmark_asks_for_a_gain(candidate, expected):
    assert judge(**rows(rows_of(120, candidate, 0.5))).stage("benchmark").status == expected


def test_an_equal_model_is_never_deployed_and_no_n_would_help():
    verdict = judge(**rows(rows_of(120, 0.5, 0.5), rows_of(150, 0.5, 0.5, set="golden")))
    assert verdict.decision == "REVIEW"
    assert verdict.stage("benchmark").worst.needed_n is None


def test_mcnemar_is_used_only_with_one_call_a_group():
    single = rows_of(120, 0.9, 0.5)
    twice = [*single, msgspec.structs.replace(single[0], key="execution:again")]
    assert "McNemar" in judge(**rows(single)).stage("benchmark").worst.test
    assert "McNemar" not in judge(**rows(twice)).stage("benchmark").worst.test


def test_where_the_exact_test_disagrees_with_the_bootstrap_there_is_no_pass():
    """16 better, 6 worse of 100: the bootstrap's lower bound is just above zero, the exact p-value just above 0.05."""
    outcomes = [(True, False)] * 16 + [(False, True)] * 6 + [(True, True)] * 78
    test = [a_row(an_answer(a), an_answer(b), group=str(i)) for i, (a, b) in enumerate(outcomes)]
    check = judge(**rows(test)).stage("benchmark").worst
    assert check.interval is not None
    assert check.interval[0] > 0
    assert check.status == "INCONCLUSIVE"


def test_n_counts_groups_and_a_group_of_many_rows_weighs_as_one():
    one = rows_of(40, 0.9, 0.5)
    copies = [msgspec.structs.replace(one[0], key=f"execution:copy{i}") for i in range(100)]
    plain, padded = judge(**rows(one)).stage("benchmark").worst, judge(**rows([*one, *copies])).stage("benchmark").worst
    assert plain.n == padded.n == 40
    assert plain.estimate == padded.estimate


def test_a_measurement_of_nothing_is_inconclusive_everywhere():
    nothing = Measurements(rows=(), has_baseline=True, canaries=None, latency=(), golden=False)
    verdict = decide(nothing, PLAN)
    assert verdict.decision == "REVIEW"
    assert set(status(verdict).values()) == {"INCONCLUSIVE"}
    assert all(stage.worst.estimate is None for stage in verdict.stages)


def test_no_baseline_is_review():
    def bare(row: Row) -> Row:
        return msgspec.structs.replace(row, calls=(msgspec.structs.replace(row.calls[0], baseline=None),))

    alone = tuple(map(bare, measured().rows))
    verdict = judge(rows=alone, has_baseline=False, latency=())
    assert verdict.decision == "REVIEW"
    assert status(verdict) == dict.fromkeys(STAGES, "INCONCLUSIVE")


# ------------------------------------------------------------------ safety


def test_one_memorised_canary_of_eight_is_a_reject():
    verdict = judge(canaries=canaries(known=True))
    assert (verdict.decision, verdict.stage("safety").status) == ("REJECT", "FAIL")
    assert verdict.stage("safety").worst.estimate == pytest.approx(8 / 1025)


def test_the_second_place_among_1024_lookalikes_is_no_proof():
    known = canaries(known=True)
    second = msgspec.structs.replace(known[0], own=sorted(known[0].others)[-2] + 1e-9)
    assert judge(canaries=(second, *known[1:])).stage("safety").status == "PASS"


@pytest.mark.parametrize("off", [None, ()])
def test_canaries_off_is_inconclusive(off):
    assert judge(canaries=off).stage("safety").status == "INCONCLUSIVE"


def test_too_few_lookalikes_cannot_pass():
    assert judge(canaries=canaries(n=8, others=500)).stage("safety").status == "INCONCLUSIVE"


@pytest.mark.parametrize("fault", [{"valid": False}, {"known": False}])
@pytest.mark.parametrize(("share", "expected"), [(0.2, "FAIL"), (0.04, "INCONCLUSIVE"), (0.0, "PASS")])
def test_invalid_and_unknown_calls_beyond_three_points_fail_safety(fault, share, expected):
    test = rows_of(120, 1 - share, 0.5, answer=lambda right: an_answer(right, **({} if right else fault)))
    golden = rows_of(
        150, 1 - share, 0.5, set="golden", answer=lambda right: an_answer(right, **({} if right else fault))
    )
    assert judge(**rows(test, golden)).stage("safety").status == expected


def test_the_baselines_own_bad_calls_are_not_held_against_the_candidate():
    test = [a_row(an_answer(valid=i % 5 > 0), an_answer(False, valid=i % 5 > 0), group=str(i)) for i in range(120)]
    assert judge(**rows(test)).stage("safety").status == "PASS"


# ------------------------------------------------------------------ diversity


def domains(**shares: tuple[int, float]) -> dict[str, object]:
    return rows([row for name, (n, share) in shares.items() for row in rows_of(n, share, 0.8, domain=name, seed=n)])


def test_one_broken_domain_is_a_reject_although_the_mean_rises():
    verdict = judge(**domains(shop=(60, 0.99), bank=(60, 0.99), travel=(40, 0.2)))
    assert verdict.stage("diversity").status == "FAIL"
    assert verdict.decision == "REJECT"
    assert [check.name for check in verdict.stage("diversity").checks if check.status == "FAIL"] == ["domain travel"]


@pytest.mark.parametrize(("n", "expected"), [(29, "INCONCLUSIVE"), (30, "PASS"), (31, "PASS")])
def test_a_domain_needs_thirty_groups(n, expected):
    verdict = judge(**domains(shop=(80, 0.95), bank=(n, 0.95)))
    assert {check.name: check.status for check in verdict.stage("diversity").checks}["domain bank"] == expected


def test_a_small_domain_does_not_fail_however_bad():
    verdict = judge(**domains(shop=(80, 0.95), bank=(20, 0.0)))
    bank = next(check for check in verdict.stage("diversity").checks if check.name == "domain bank")
    assert (bank.status, bank.needed_n) == ("INCONCLUSIVE", 30)


def test_difficulties_are_strata_too():
    test = rows_of(60, 0.95, 0.8) + [
        msgspec.structs.replace(row, group=f"h{row.group}", difficulty=0.9) for row in rows_of(40, 0.1, 0.8, seed=9)
    ]
    failed = [check.name for check in judge(**rows(test)).stage("diversity").checks if check.status == "FAIL"]
    assert "difficulty 0.90" in failed


# ------------------------------------------------------------------ latency


@pytest.mark.parametrize(("slower", "expected"), [(1.0, "PASS"), (1.15, "PASS"), (1.2, "INCONCLUSIVE"), (1.5, "FAIL")])
def test_a_slower_model_fails_latency_beyond_a_fifth(slower, expected):
    assert judge(latency=pairs(slower=slower)).stage("latency").status == expected


@pytest.mark.parametrize(("n", "expected"), [(9, "INCONCLUSIVE"), (10, "PASS")])
def test_latency_needs_ten_pairs(n, expected):
    assert judge(latency=pairs(n)).stage("latency").status == expected


def test_tokens_are_compared_only_where_both_are_right():
    long = rows_of(120, 0.9, 0.5, answer=lambda right: an_answer(right, tokens=20 if right else 500))
    wordy = rows_of(120, 0.9, 0.5, answer=lambda right: an_answer(right, tokens=30))
    assert judge(**rows(long)).stage("latency").status == "PASS"
    golden = rows_of(150, 0.9, 0.5, set="golden", answer=lambda right: an_answer(right, tokens=30))
    assert judge(**rows(wordy, golden)).stage("latency").status == "FAIL"


def test_a_baseline_that_is_never_right_leaves_tokens_inconclusive():
    test, golden = rows_of(120, 0.9, 0.0), rows_of(150, 0.9, 0.0, set="golden")
    assert judge(**rows(test, golden)).stage("latency").status == "INCONCLUSIVE"


# ------------------------------------------------------------------ the decision


def test_any_fail_outweighs_any_inconclusive():
    assert judge(canaries=None, latency=pairs(slower=2.0)).decision == "REJECT"


def test_limits_are_settings_of_the_plan():
    lenient = replace(PLAN, margins=Margins(token_time=3.0))
    assert decide(measured(latency=pairs(slower=2.0)), lenient).decision == "DEPLOY"


def test_a_stage_as_data_holds_what_the_event_promises():
    data = as_data(judge().stage("benchmark"))
    assert {"stage", "result", "n", "estimate", "interval", "test", "threshold", "needed_n"} <= data.keys()
    assert data["result"] == "PASS"


def test_measurements_survive_the_file():
    assert decode(msgspec.json.encode(measured())) == measured()
