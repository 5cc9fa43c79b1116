"""Easy first, by what runs of a task come to; each row once; a control arm that knows nothing of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from l07.domain.curriculum import SHARES, Curriculum, Runs, curriculum, difficulty


def runs_of(tasks: Sequence[tuple[int, int]], *, learnt: Sequence[bool] | None = None, kinds: int = 1) -> Runs:
    """(fails, attempts) of each task; its runs are of one structural difficulty, 0.5."""
    task = [n for n, (_, attempts) in enumerate(tasks) for _ in range(attempts)]
    failed = [run < fails for fails, attempts in tasks for run in range(attempts)]
    return Runs(
        task=np.array(task, np.int64),
        kind=np.array([n % kinds for n in task], np.int64),
        judged=np.ones(len(task), bool),
        failed=np.array(failed, bool),
        structural=np.full(len(task), 0.5),
        learnt=np.array(learnt if learnt is not None else [not fail for fail in failed], bool),
    )


def draws(count: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


def ordered(runs: Runs, pacing: Any = "buckets", seed: int = 1) -> Curriculum:
    return curriculum(runs, draws(len(runs.task), seed), draws(len(runs.task), seed + 100), pacing=pacing)


MANY = [(fails, 6) for fails in (0, 1, 2, 3, 4, 5)] * 10


def test_a_task_that_fails_more_often_is_harder() -> None:
    hard = difficulty(runs_of(MANY))
    by_task = [hard[n * 6] for n in range(6)]
    assert by_task == sorted(by_task)
    assert by_task[0] < by_task[-1]


def test_few_attempts_are_drawn_further_towards_the_mean_of_their_kind() -> None:
    hard = difficulty(runs_of([*MANY, (3, 3), (60, 60)], learnt=[True] * (6 * len(MANY) + 63)))
    assert 2.5 / 6 < hard[-61] < hard[-1] <= 1.0


def test_a_kind_of_task_has_its_own_mean() -> None:
    tasks = [(0, 4), (3, 4)] * 20 + [(1, 3), (1, 3)]
    runs = runs_of(tasks, kinds=2, learnt=[True] * (40 * 4 + 6))
    easy_kind, hard_kind = difficulty(runs)[-4], difficulty(runs)[-1]
    assert easy_kind < 1 / 3 < hard_kind


def test_with_fewer_than_three_attempts_the_run_itself_speaks_too() -> None:
    runs = runs_of([*MANY, (0, 1), (0, 1)])
    structural = runs.structural.copy()
    structural[-2:] = [0.1, 0.9]
    hard = difficulty(replace(runs, structural=structural))
    assert hard[-2] < hard[-1]


def test_a_score_that_says_nothing_is_no_attempt() -> None:
    runs = runs_of([*MANY, (2, 6)], learnt=[True] * (6 * len(MANY) + 6))
    unsure = runs.judged.copy()
    unsure[-6:-4] = False  # the two fails
    assert difficulty(replace(runs, judged=unsure))[-1] < difficulty(runs)[-1]


def test_what_tasks_outside_train_do_changes_nothing() -> None:
    inside = runs_of(MANY)
    both = runs_of([*MANY, *[(6, 6)] * 30])
    learnt = np.concatenate([inside.learnt, np.zeros(180, bool)])
    assert list(difficulty(replace(both, learnt=learnt))[: len(inside.task)]) == list(difficulty(inside))


@pytest.mark.parametrize("pacing", ["buckets", "competence"])
def test_every_train_row_has_one_rank_in_either_arm(pacing: str) -> None:
    runs = runs_of(MANY)
    made = ordered(runs, pacing)
    assert list(made.place) == list(np.flatnonzero(runs.learnt))
    assert sorted(made.rank) == sorted(made.rank_shuffled) == list(range(len(made.place)))


def test_the_stages_are_30_50_and_20_hundredths_from_easy_to_hard() -> None:
    stages = ordered(runs_of([(n % 5, 5) for n in range(100)])).stages()
    total = sum(stage.rows for stage in stages)
    assert [stage.name for stage in stages] == list(SHARES)
    assert [stage.rows / total for stage in stages] == pytest.approx(list(SHARES.values()), abs=0.01)
    assert [(stage.first, stage.last) for stage in stages] == [(0, 89), (90, 239), (240, 299)]
    for easier, harder in pairwise(stages):
        assert easier.difficulty_to <= harder.difficulty_from


def thirds(made: Curriculum, ranks: Any) -> list[float]:
    third = ranks * 3 // len(ranks)
    return [float(made.difficulty[third == n].mean()) for n in range(3)]


@pytest.mark.parametrize("pacing", ["buckets", "competence"])
def test_the_order_rises_and_the_control_does_not(pacing: str) -> None:
    made = ordered(runs_of([(n % 6, 8) for n in range(300)]), pacing)
    easy, middle, hard = thirds(made, made.rank)
    assert easy < middle < hard
    control = thirds(made, made.rank_shuffled)
    assert max(control) - min(control) < 0.25 * (hard - easy)


def test_competence_opens_the_order_step_by_step() -> None:
    made = ordered(runs_of([(n % 6, 8) for n in range(300)]), "competence")
    first = made.rank < len(made.rank) // 20
    assert made.difficulty[first].max() < np.quantile(made.difficulty, 0.4)


def test_the_same_draws_give_the_same_order_and_others_another_within_a_stage() -> None:
    runs = runs_of(MANY)
    one, again, other = ordered(runs), ordered(runs), ordered(runs, seed=2)
    assert list(one.rank) == list(again.rank)
    assert list(one.rank) != list(other.rank)
    assert list(one.difficulty) == list(other.difficulty)


def test_nothing_to_order_is_an_empty_order() -> None:
    none = ordered(runs_of(MANY, learnt=[False] * 360))
    assert (len(none.place), none.stages()) == (0, [])
    assert len(ordered(runs_of([])).place) == 0


def test_one_row_is_a_curriculum() -> None:
    made = ordered(runs_of([(0, 1)]))
    assert [list(a) for a in (made.place, made.rank, made.rank_shuffled)] == [[0], [0], [0]]
