"""Outliers: strange for its own source, told by rank and distance together, silent where there are too few."""

import random

from l07.domain.outliers import MIN_ROWS, Run, Strangeness, strangeness


def runs(
    count: int, *, source: str = "/a", domain: str = "d", seed: int = 0, centre: float = 10.0, new: bool = True
) -> list[Run]:
    rng = random.Random(f"{seed}/{source}/{domain}")
    return [
        Run(f"{source}{domain}{n:03}", source, domain, (rng.gauss(centre, 1), rng.gauss(5, 1), rng.random()), new)
        for n in range(count)
    ]


STRANGE = Run("strange", "/a", "d", (500.0, 300.0, 90.0), True)


def test_a_run_far_from_its_source_is_first_by_rank_and_far_by_z() -> None:
    found = strangeness([*runs(200), STRANGE], seed=7)["strange"]
    assert found.rank == 0.0
    assert found.z is not None
    assert found.z > 3.5
    assert found.reasons(max_probability=0.15, max_z=3.5) == ("outlier_rank", "outlier_z")


def test_the_strangest_of_usual_runs_is_ranked_and_not_reviewed() -> None:
    reasons = [s.reasons(max_probability=0.15, max_z=3.5) for s in strangeness(runs(200), seed=7).values()]
    assert reasons.count(("outlier_rank", "outlier_z")) <= 4  # 2 %: the tail of any two hundred
    assert 25 <= sum("outlier_rank" in found for found in reasons) <= 31  # 15 %


def test_among_runs_that_are_all_alike_a_hair_s_breadth_is_not_far() -> None:
    """Runs that differ in how well they compress, by two parts in a hundred: none is strange for that. One that differs by
    a fifth is."""
    ratios = [0.691] * 6 + [0.696] * 12 + [0.701] * 8 + [0.685] * 2 + [0.711] * 2
    alike = [Run(f"r{n:02}", "/a", "d", (2.0, 1.0, 47.0, ratio), True) for n, ratio in enumerate(ratios)]
    assert {found.z for found in strangeness(alike, seed=7).values()} == {0.0}
    found = strangeness([*alike, Run("other", "/a", "d", (2.0, 1.0, 47.0, 0.9), True)], seed=7)
    far = [key for key, one in found.items() if "outlier_z" in one.reasons(max_probability=0.15, max_z=3.5)]
    assert far == ["other"]


def test_far_without_rank_is_no_reason() -> None:
    assert Strangeness(rank=0.5, z=9.0).reasons(max_probability=0.15, max_z=3.5) == ()


def test_too_few_rows_are_not_judged() -> None:
    few = runs(MIN_ROWS - 1)
    assert {s.rank for s in strangeness(few, seed=7).values()} == {None}
    assert strangeness(few, seed=7)[few[0].key].reasons(max_probability=0.15, max_z=3.5) == ("outlier_not_judged",)
    assert None not in {s.rank for s in strangeness(runs(MIN_ROWS), seed=7).values()}


def test_older_runs_are_what_is_normal_and_are_not_judged_again() -> None:
    found = strangeness([*runs(200, new=False), STRANGE], seed=7)
    assert found.keys() == {"strange"}
    assert found["strange"].rank == 0.0


def test_what_is_usual_for_one_domain_does_not_make_another_strange() -> None:
    rare = runs(40, domain="rare", centre=1000.0)
    found = strangeness([*runs(400), *rare], seed=7)
    reviewed = [run.key for run in rare if "outlier_z" in found[run.key].reasons(max_probability=0.15, max_z=3.5)]
    assert len(reviewed) <= 2  # 5 %: the tail of any forty


def test_the_order_of_runs_does_not_show() -> None:
    everyone = [*runs(100), *runs(100, source="/b"), STRANGE]
    assert strangeness(random.Random(1).sample(everyone, len(everyone)), seed=7) == strangeness(everyone, seed=7)


def test_runs_that_are_all_alike_are_no_outliers() -> None:
    alike = [Run(f"{n}", "/a", "d", (1.0, 2.0), True) for n in range(50)]
    found = strangeness(alike, seed=7)
    assert {s.reasons(max_probability=0.15, max_z=3.5) for s in found.values()} <= {(), ("outlier_rank",)}
