"""Which run is preferred to which: same task, same words before, a margin, no sign of length, never across splits."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from l07.domain.preference import (
    MOST_ATTEMPTS,
    Attempt,
    PreferenceRules,
    candidate_pairs,
    eligible,
    kto_labels,
    length_bias,
    preference_pairs,
)

RULES = PreferenceRules(compare="run")


def an_attempt(key: str, **changes: object) -> Attempt:
    score = changes.get("quality_score", 90.0)
    made = Attempt(
        key=key, task="home/t", prompt="p", split="train", domain="home", accepted=float(str(score)) >= 70,
        quality_score=90.0, confidence=1.0, length=100,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def a_crowd(seed: int, *, tasks: int = 200, longer: float = 0.8) -> list[Attempt]:
    """A good and a bad run of each task; the share `longer` of the good ones is the longer of the two."""
    rng = random.Random(seed)
    found = []
    for n in range(tasks):
        short, much = rng.randint(200, 2000), rng.randint(10, 4000)
        good, bad = (short + much, short) if rng.random() < longer else (short, short + much)
        home = {"task": f"t{n}", "domain": rng.choice("ab"), "split": rng.choice(["train", "test"])}
        found.append(an_attempt(f"{n}-good", quality_score=95.0, length=good, **home))
        found.append(an_attempt(f"{n}-bad", quality_score=20.0, length=bad, **home))
    return found


def names(attempts: list[Attempt], rules: PreferenceRules = RULES) -> list[tuple[str, str]]:
    return [(p.chosen.key, p.rejected.key) for p in candidate_pairs(attempts, rules)]


def test_the_better_scored_run_is_chosen_with_the_difference_of_the_rewards() -> None:
    (pair,) = candidate_pairs([an_attempt("bad", quality_score=20.0, confidence=0.5), an_attempt("good")], RULES)
    assert (pair.chosen.key, pair.rejected.key) == ("good", "bad")
    assert pair.margin == pytest.approx(0.8 - -0.3)


@pytest.mark.parametrize(("score", "paired"), [(69.9, True), (70.0, True), (70.1, False), (90.0, False)])
def test_the_margin_is_in_points_and_a_worse_accepted_run_may_be_rejected(score: float, paired: bool) -> None:
    assert bool(names([an_attempt("a"), an_attempt("b", quality_score=score)])) is paired


def test_a_rejected_run_is_never_chosen() -> None:
    assert names([an_attempt("a", quality_score=60.0), an_attempt("b", quality_score=5.0)]) == []


@pytest.mark.parametrize("field", ["task", "prompt", "split"])
def test_no_pair_is_made_across_tasks_first_words_or_splits(field: str) -> None:
    assert names([an_attempt("a"), an_attempt("b", quality_score=5.0, **{field: "other"})]) == []


@pytest.mark.parametrize(
    ("decision", "reasons", "may"),
    [
        ("ACCEPT", ["outlier_rank"], True),
        ("REJECT", ["low_score"], True),
        ("REJECT", ["low_score", "low_confidence"], False),
        ("ACCEPT", ["doubtful_label"], False),
        ("REVIEW", [], False),
        ("QUARANTINE", [], False),
    ],
)
def test_a_doubtful_row_takes_no_part(decision: str, reasons: list[str], may: bool) -> None:
    assert eligible(decision, reasons) is may


def test_a_task_gives_few_pairs_and_a_row_one_a_side() -> None:
    good = [an_attempt(f"g{n}", length=100 + n) for n in range(9)]
    bad = [an_attempt(f"b{n}", quality_score=1.0, length=100 + n) for n in range(9)]
    pairs = preference_pairs(candidate_pairs([*good, *bad], RULES), RULES)
    assert len(pairs) == RULES.pairs_per_task
    for side in ("chosen", "rejected"):
        assert max(Counter(getattr(pair, side).key for pair in pairs).values()) == 1


def test_length_does_not_give_the_chosen_run_away() -> None:
    candidates = candidate_pairs(a_crowd(3), RULES)
    before, after = length_bias(candidates), length_bias(preference_pairs(candidates, RULES))
    assert before["chosen_longer"] == pytest.approx(0.8, abs=0.06)
    assert abs(after["mean_difference"] or 0) < 0.05 * abs(before["mean_difference"] or 0)
    assert after["chosen_longer"] == pytest.approx(0.5, abs=0.05)
    assert (after["pairs"] or 0) > 50


def test_length_is_balanced_within_each_split_and_domain() -> None:
    pairs = preference_pairs(candidate_pairs(a_crowd(4, tasks=600), RULES), RULES)
    for stratum in {pair.chosen.stratum for pair in pairs}:
        signs = Counter(
            pair.log_ratio > 0 for pair in pairs if pair.chosen.stratum == stratum and abs(pair.log_ratio) > 0.2
        )
        assert abs(signs[True] - signs[False]) <= 0.1 * signs.total() + 1


def test_without_the_balance_every_task_keeps_its_pair() -> None:
    candidates = candidate_pairs(a_crowd(5), RULES)
    pairs = preference_pairs(candidates, replace(RULES, balance_length=False))
    assert len(pairs) == 200
    assert (length_bias(pairs)["chosen_longer"] or 0) > 0.7


def test_the_order_of_rows_does_not_show_and_the_seed_does() -> None:
    crowd = a_crowd(6)
    mixed = random.Random(1).sample(crowd, len(crowd))
    found = preference_pairs(candidate_pairs(crowd, RULES), RULES)
    assert preference_pairs(candidate_pairs(mixed, RULES), RULES) == found
    other = replace(RULES, seed=8)
    assert preference_pairs(candidate_pairs(crowd, other), other) != found


def test_a_prompt_with_very_many_attempts_is_bounded() -> None:
    crowd = [an_attempt(f"g{n}") for n in range(200)] + [an_attempt(f"b{n}", quality_score=1.0) for n in range(200)]
    assert len(candidate_pairs(crowd, RULES)) == MOST_ATTEMPTS**2


def test_no_pairs_have_no_bias() -> None:
    assert length_bias([]) == {"pairs": 0, "mean_difference": None, "mean_log_ratio": None, "chosen_longer": None}


def test_labels_are_balanced_in_each_split_and_domain() -> None:
    crowd = a_crowd(7)
    crowd = crowd[:-100] + [attempt for attempt in crowd[-100:] if attempt.accepted]
    labels = kto_labels(crowd, RULES)
    strata = Counter((a.stratum, labels[a.key]) for a in crowd if a.key in labels)
    for stratum in {a.stratum for a in crowd}:
        assert strata[stratum, True] == strata[stratum, False] > 0
    assert all(labels[a.key] is a.accepted for a in crowd if a.key in labels)


def test_a_split_with_one_kind_alone_has_no_labels() -> None:
    assert kto_labels([an_attempt("a"), an_attempt("b")], RULES) == {}
