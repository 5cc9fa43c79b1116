"""One curve of all attempts: what was measured, by step, and nothing in between."""

import csv
import io
import json
from pathlib import Path

import pytest

from l07.domain.curve import FIELDS, Curve, curve_of


def lines(*steps: tuple[int, float], **more: float) -> list[dict[str, object]]:
    return [{"step": step, "steps": 100, "loss": loss, **more} for step, loss in steps]


def losses(curve: Curve) -> list[tuple[float, float]]:
    return curve.series("loss")


def test_lines_become_points_by_step() -> None:
    curve = curve_of([[{"state": "TRAINING"}, *lines((1, 2.0), (5, 1.5), learning_rate=0.1, eta_s=9.0)]])
    assert curve.points == [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1}, {"step": 5, "loss": 1.5, "learning_rate": 0.1},
    ]  # fmt: skip
    assert curve.names == ["loss", "learning_rate"]


def test_an_attempt_that_goes_on_replaces_what_was_said_from_its_first_step_on() -> None:
    curve = curve_of([lines((10, 3.0), (20, 2.0), (30, 1.0)), lines((20, 1.9), (40, 0.8))])
    assert losses(curve) == [(10, 3.0), (20, 1.9), (40, 0.8)]


def test_an_attempt_that_begins_anew_replaces_all_and_one_that_said_nothing_nothing() -> None:
    assert losses(curve_of([lines((10, 3.0), (20, 2.0)), lines((1, 5.0))])) == [(1, 5.0)]
    assert losses(curve_of([lines((10, 3.0)), [{"state": "INITIALIZING"}]])) == [(10, 3.0)]


def test_a_results_losses_fill_in_the_steps_that_no_line_was_written_for() -> None:
    result = {
        "losses": [{"step": 1, "loss": 2.5, "grad_norm": 1.0}, {"step": 2, "loss": 2.0}],
        "eval_losses": [{"step": 2, "loss": 2.2}],
        "curves": {"kl": [{"step": 1, "kl": 0.5}, {"step": 3, "kl": None}]},
    }
    curve = curve_of([lines((2, 2.1))], result)
    assert curve.points == [
        {"step": 1, "loss": 2.5, "grad_norm": 1.0, "kl": 0.5},
        {"step": 2, "loss": 2.0, "eval_loss": 2.2},
    ]
    assert curve.names == ["loss", "eval_loss", "grad_norm", "kl"]


def test_what_a_policy_did_at_held_out_places_is_a_curve_from_before_the_first_step_on() -> None:
    looks = [{"step": 0, "exact": 0.5, "reward": -0.1, "valid": 1.0, "n": 96}, {"step": 2, "exact": 0.7, "reward": 0.3}]
    curve = curve_of([lines((2, 2.1))], {"looks": looks})
    assert curve.series("held_out_exact") == [(0, 0.5), (2, 0.7)]
    assert curve.series("held_out_reward") == [(0, -0.1), (2, 0.3)]
    assert curve.series("held_out_valid") == [(0, 1.0)]
    assert losses(curve) == [(2, 2.1)]


def test_a_policy_that_was_stopped_has_the_looks_that_it_told() -> None:
    first = [{"look": {"step": 0, "exact": 0.5, "valid": 1.0, "n": 96}}, *lines((1, 2.2), (2, 2.1))]
    again = [*lines((2, 2.0)), {"look": {"step": 2, "exact": 0.4}}, {"look": "nothing"}]
    curve = curve_of([first, again])
    assert curve.series("held_out_exact") == [(0, 0.5), (2, 0.4)]
    assert losses(curve) == [(1, 2.2), (2, 2.0)]


def test_a_methods_own_numbers_stand_behind_the_known_ones() -> None:
    curve = curve_of([[{"step": 1, "rewards/accuracies": 0.5, "loss": 1.0, "kl": 0.1}]])
    assert curve.names == ["loss", "kl", "rewards/accuracies"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "2.0", True, [1.0]])
def test_what_is_no_number_is_left_out(value: object) -> None:
    curve = curve_of([[{"step": 1, "loss": value, "grad_norm": 1.0}]])
    assert curve.points == [{"step": 1, "grad_norm": 1.0}]


@pytest.mark.parametrize("step", [None, -1, 1.5, "1", True])
def test_a_line_without_a_step_is_none(step: object) -> None:
    assert curve_of([[{"step": step, "loss": 1.0}]]).points == []


def test_as_data_it_can_be_read_back() -> None:
    curve = curve_of([[{"step": 1, "loss": 1.25}, {"step": 2, "loss": 0.1, "grad_norm": 3e-5}]])
    rows = list(csv.DictReader(io.StringIO(curve.table())))
    assert rows == [
        {"step": "1", "loss": "1.25", "grad_norm": ""}, {"step": "2", "loss": "0.1", "grad_norm": "3e-05"},
    ]  # fmt: skip
    assert json.loads(json.dumps(curve.document()))["points"][1]["grad_norm"] == 3e-5


def test_the_page_about_training_explains_each_name() -> None:
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text("utf-8")
    assert [name for name, about in FIELDS.items() if f"`{name}`" not in page] == []
