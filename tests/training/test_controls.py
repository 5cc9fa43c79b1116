"""Does the validator say what it should of models that we know? Every control is computed from recorded answers."""

import random
from collections import Counter

import msgspec
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.domain.measurements import Call, Measurements, Pair, Row
from l07.domain.verdict import Plan, Verdict, decide
from tests.training.recordings import recordings

pytestmark = [pytest.mark.slow, pytest.mark.training, pytest.mark.timeout(1800)]  # the first run trains two models
PLAN = Plan(resamples=2000, seed=7)
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def recorded() -> dict[str, Measurements]:
    return recordings()


@pytest.fixture
def honest(recorded: dict[str, Measurements]) -> Measurements:
    """The better model. Its times are the baseline's, which has the same shape: how busy the machine was while two models were
    recorded is not what these controls are about. Its canaries are the policy's, which never met them: four epochs make it sure to be better in each
    domain, and may teach it the canaries too. Both stages have a control of their own."""
    measured = recorded["honest"]
    quiet = tuple(Pair(pair.baseline, pair.baseline) for pair in measured.latency)
    return replace(measured, latency=quiet, canaries=recorded["itself"].canaries)


def against(candidate: Measurements, released: Measurements) -> Measurements:
    """The candidate's answers beside those of another trained model to the same questions."""
    theirs = {(row.set, row.key): row for row in released.rows}
    rows = tuple(
        replace(row, calls=tuple(map(beside, row.calls, theirs[row.set, row.key].calls))) for row in candidate.rows
    )
    return replace(candidate, rows=rows)


def beside(mine: Call, theirs: Call) -> Call:
    assert (mine.message, mine.name) == (theirs.message, theirs.name)
    return replace(mine, baseline=theirs.candidate)


def failed(verdict: Verdict) -> list[str]:
    return [stage.name for stage in verdict.stages if stage.status == "FAIL"]


def test_a_better_model_with_golden_set_and_thirty_groups_a_domain_is_deployed(honest: Measurements):
    verdict = decide(honest, PLAN)
    assert verdict.decision == "DEPLOY", verdict.reasons


def test_the_base_as_its_own_candidate_is_never_deployed(recorded: dict[str, Measurements]):
    verdict = decide(recorded["itself"], PLAN)
    assert verdict.decision == "REVIEW"
    assert not verdict.stage("benchmark").passed
    assert verdict.stage("benchmark").worst.estimate == 0.0


def test_a_model_that_learned_shuffled_answers_is_rejected(recorded: dict[str, Measurements]):
    verdict = decide(against(recorded["broken"], recorded["honest"]), PLAN)
    assert verdict.decision == "REJECT"
    assert {"regression", "benchmark"} <= set(failed(verdict))


def test_shuffled_answers_are_not_deployed_over_a_weak_baseline_either(recorded: dict[str, Measurements]):
    assert decide(recorded["broken"], PLAN).decision != "DEPLOY"


def test_a_memorised_canary_fails_safety_and_nothing_else(recorded: dict[str, Measurements], honest: Measurements):
    verdict = decide(replace(honest, canaries=recorded["broken"].canaries), PLAN)
    assert (verdict.decision, failed(verdict)) == ("REJECT", ["safety"])


def test_a_slowed_model_fails_latency_and_nothing_else(honest: Measurements):
    delay = 0.5 * sorted(seconds for pair in honest.latency for seconds in pair.baseline)[-1]
    slowed = tuple(
        replace(pair, candidate=tuple(seconds + delay for seconds in pair.candidate)) for pair in honest.latency
    )
    verdict = decide(replace(honest, latency=slowed), PLAN)
    assert (verdict.decision, failed(verdict)) == ("REJECT", ["latency"])


def test_one_broken_domain_fails_diversity_and_nothing_else(honest: Measurements):
    """In one domain the two models' answers change places, so there the candidate answers like the policy."""
    gained = Counter[str]()
    for row in (row for row in honest.rows if row.set == "test"):
        gained[row.domain] += sum(call.candidate.exact - call.baseline.exact for call in row.calls if call.baseline)
    domain = gained.most_common(1)[0][0]  # where it is sure that they differ
    rows = tuple(swapped(row) if (row.set, row.domain) == ("test", domain) else row for row in honest.rows)
    verdict = decide(replace(honest, rows=rows), PLAN)
    assert (verdict.decision, failed(verdict)) == ("REJECT", ["diversity"])
    broken = [check.name for check in verdict.stage("diversity").checks if check.status == "FAIL"]
    assert broken == [f"domain {domain}"]


def test_without_a_golden_set_the_same_model_is_reviewed(honest: Measurements):
    rows = tuple(row for row in honest.rows if row.set == "test")
    verdict = decide(replace(honest, rows=rows, golden=False), PLAN)
    assert (verdict.decision, failed(verdict)) == ("REVIEW", [])


# ------------------------------------------------------------------ equal against equal


def groups_of(rows: tuple[Row, ...]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.set, row.group), []).append(row)
    return groups


def swapped(row: Row) -> Row:
    calls = tuple(replace(call, candidate=call.baseline, baseline=call.candidate) for call in row.calls)
    return replace(row, calls=calls)


def agreeing(row: Row) -> Row:
    return replace(row, calls=tuple(replace(call, baseline=call.candidate) for call in row.calls))


def equal_pair(measured: Measurements, seed: int, differing: float) -> Measurements:
    """Two models of one quality: groups are drawn anew; in a share of them answers differ, and a coin says whose."""
    rng = random.Random(seed)
    rows: list[Row] = []
    groups = groups_of(measured.rows)
    for name in ("test", "golden"):
        keys = [key for key in groups if key[0] == name]
        for number, key in enumerate(rng.choices(keys, k=len(keys))):
            differs, turned = rng.random() < differing, rng.random() < 0.5
            for row in groups[key]:
                changed = (swapped(row) if turned else row) if differs else agreeing(row)
                rows.append(replace(changed, group=f"{row.group}/{number}", key=f"{row.key}/{number}"))
    return replace(measured, rows=tuple(rows))


@pytest.mark.parametrize("differing", [1.0, 0.2])
def test_of_two_hundred_equal_pairs_at_most_ten_are_deployed(honest: Measurements, differing: float):
    plan = Plan(resamples=500, seed=7)
    verdicts = [decide(equal_pair(honest, seed, differing), plan) for seed in range(200)]
    assert Counter(verdict.decision for verdict in verdicts)["DEPLOY"] <= 10
    assert sum(verdict.stage("benchmark").passed for verdict in verdicts) <= 10
