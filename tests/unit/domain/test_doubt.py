import random
from dataclasses import replace

import numpy as np
import pytest

from l07.domain.doubt import FAULTS, Attempt, Doubt, Held, Limits, Run, doubts, growing, judge, soundness
from l07.domain.doubt.limits import centred, noise_share, threshold
from l07.domain.doubt.source import FAULTY, Source
from tests.doubt import a_failure, a_purchase, a_source, an_attempt

RUNS = [a_purchase(n // 3) for n in range(180)]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "RUN_TREES", 15)
    monkeypatch.setattr(judge, "LABEL_TREES", 15)


def judged(attempts: list[Attempt], runs: dict[str, Run] | None = None, *, seed: int = 7) -> dict[str, Doubt]:
    texts = runs if runs is not None else {f"k{n:04}": run for n, run in enumerate(RUNS)}
    return doubts(attempts, Held(texts), limits=Limits(), seed=seed)


def spoilt(fault: str, every: int = 12) -> tuple[list[Attempt], dict[str, Run], set[str]]:
    """The source with a fault in one of `every` runs."""
    rng = random.Random(3)
    runs = list(RUNS)
    for n in range(0, len(runs), every):
        runs[n] = FAULTS[fault](runs[n], runs[(n + 50) % len(runs)], rng) or runs[n]
    bad = {f"k{n:04}" for n, run in enumerate(runs) if run is not RUNS[n]}
    return a_source(runs), {f"k{n:04}": run for n, run in enumerate(runs)}, bad


@pytest.mark.parametrize("fault", ["cut_end", "move_steps", "foreign_outputs"])
def test_runs_with_a_fault_go_to_review_and_few_others(fault: str) -> None:
    attempts, runs, bad = spoilt(fault)
    found = judged(attempts, runs)
    caught = {key for key, doubt in found.items() if doubt.doubtful_run}
    assert len(caught & bad) >= 0.6 * len(bad)
    assert len(caught - bad) <= 0.08 * len(found)
    assert all(("doubtful_run" in found[key].reasons) == (key in caught) for key in found)


def test_a_failure_with_a_good_score_has_a_doubtful_label() -> None:
    attempts = a_source(RUNS)
    attempts += [an_attempt(f"r{n:04}", a_failure(n), task=f"t{n}", accepted=False) for n in range(60)]
    wrong = {f"w{n}" for n in range(4)}
    attempts += [an_attempt(f"w{n}", a_failure(n + 20), task=f"t{n + 20}") for n in range(4)]
    found = judged(attempts)
    assert {key for key, doubt in found.items() if doubt.doubtful_label and key[0] != "r"} == wrong
    assert not any(found[f"r{n:04}"].doubtful_label for n in range(60))


def test_the_labels_of_successes_with_a_bad_score_are_the_most_doubtful() -> None:
    attempts = a_source(RUNS)
    attempts += [an_attempt(f"r{n:04}", a_failure(n), task=f"t{n}", accepted=False) for n in range(58)]
    attempts += [an_attempt(f"w{n}", a_purchase(n), task=f"t{n}", accepted=False) for n in (58, 59)]
    found = judged(attempts)
    assert set(sorted(found, key=lambda key: found[key].label or 0)[-2:]) == {"w58", "w59"}
    assert found["w58"].run is None  # only what may be learnt from is asked whether it is sound


def test_the_same_runs_have_the_same_doubts_to_the_bit() -> None:
    attempts, runs, _ = spoilt("swap_outputs")
    first = judged(attempts, runs)
    again = judged(random.Random(1).sample(attempts, len(attempts)), dict(reversed(runs.items())))
    assert first == again
    assert first != judged(attempts, runs, seed=8)


def test_the_same_run_has_the_same_numbers_whatever_its_label() -> None:
    rejected = an_attempt("w", a_purchase(0), task="t0", accepted=False)
    attempts = [*a_source(RUNS), rejected]
    source = Source(attempts, Held(), seed=7)
    assert source.row(rejected) == source.row(attempts[0])


def test_only_new_runs_are_judged() -> None:
    attempts = [*a_source(RUNS, new=False), an_attempt("n", a_purchase(99), task="t99")]
    assert set(judged(attempts)) == {"n"}


def test_a_small_source_says_that_it_cannot_judge() -> None:
    assert {d.reasons for d in judged(a_source(RUNS[:49])).values()} == {("doubt_not_judged",)}
    few_tasks = a_source(RUNS, per_task=40)
    assert {d.reasons for d in judged(few_tasks).values()} == {("doubt_not_judged",)}
    assert not any("doubt_not_judged" in d.reasons for d in judged(a_source(RUNS[:50])).values())


def test_runs_of_a_small_source_are_copied_several_times() -> None:
    source = Source(a_source(RUNS[:30]), Held({f"k{n:04}": run for n, run in enumerate(RUNS)}), seed=7)
    assert 120 < len(source.faulty) <= 30 * len(FAULTS)


def elsewhere(attempts: list[Attempt], name: str) -> list[Attempt]:
    return [replace(a, key=f"{name}{a.key}", source=name, task=f"{name}{a.task}") for a in attempts]


def test_a_small_source_learns_from_the_others_too() -> None:
    attempts, runs, bad = spoilt("cut_end")
    few = attempts[:60]
    company = elsewhere(attempts, "/other")
    texts = runs | {f"/other{key}": run for key, run in runs.items()}
    alone, together = judged(few, texts), judged([*few, *company], texts)
    scores = [(alone[a.key].run, together[a.key].run) for a in few]
    assert all(one is not None and one != other for one, other in scores)
    assert {key for key in bad if key in together} <= {key for key, doubt in together.items() if doubt.doubtful_run}


def test_a_large_source_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "SMALL", 150)
    attempts, runs, _ = spoilt("cut_end")
    few = elsewhere(attempts[:60], "/other")
    texts = runs | {f"/other{key}": run for key, run in runs.items()}
    alone, together = judged(attempts, texts), judged([*attempts, *few], texts)
    assert all(together[a.key] == alone[a.key] for a in attempts)


def test_of_many_sources_no_more_rows_teach_than_trees_can_count() -> None:
    teach = min(soundness.COMPANY, soundness.MOST_COMPANY // 3)
    assert 3 * teach <= soundness.MOST_COMPANY <= growing.MOST_ROWS
    assert 2 * soundness.LEARNT <= growing.MOST_ROWS
    assert soundness.LEARNT + 2 * FAULTY <= growing.MOST_ROWS


def test_without_any_text_nothing_is_said_of_runs() -> None:
    assert {doubt.run for doubt in judged(a_source(RUNS), {}).values()} == {None}


# ------------------------------------------------------------------ the threshold


def scores(seed: int, *, noise: float, distance: float = 4.0, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bad = int(noise * count)
    real = np.concatenate([rng.normal(0, 1, count - bad), rng.normal(distance, 1, bad)])
    return real, rng.normal(distance, 1, 500)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.12])
def test_the_share_of_noise_is_told_without_labels(noise: float) -> None:
    assert noise_share(*scores(1, noise=noise)) == pytest.approx(noise, rel=0.25)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05, 0.12])
def test_what_goes_to_review_follows_the_share_of_noise(noise: float) -> None:
    real, faulty = scores(2, noise=noise)
    least = threshold(real, faulty, share=0.14, precision=0.5)
    bad = real[len(real) - int(noise * len(real)) :]
    assert (bad >= least).sum() >= 0.85 * len(bad)
    assert (real >= least).mean() <= 2 * noise + 0.005


def test_never_more_than_the_share() -> None:
    real, faulty = scores(3, noise=0.15)
    assert 0.03 <= (real >= threshold(real, faulty, share=0.04, precision=0.1)).mean() <= 0.04


def test_what_cannot_be_told_apart_is_left_alone() -> None:
    real, faulty = scores(4, noise=0.1, distance=0.3)
    assert threshold(real, faulty, share=0.14, precision=0.2) == np.inf
    assert threshold(real, np.array([]), share=0.14, precision=0.2) == np.inf


def test_a_task_of_which_all_attempts_look_strange_is_not_strange() -> None:
    values = np.array([0.0] * 40 + [3.0] * 40 + [6.0])
    tasks = ["a"] * 40 + ["b"] * 41
    moved = centred(values, tasks, real=np.ones(81, bool))
    assert moved[60] - moved[0] < 1.0
    assert moved[80] - moved[60] == 3.0
