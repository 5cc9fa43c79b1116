"""A person reads a curve, not a table of numbers."""

from l07.cli.curves import blocks, curve, readable


def test_a_falling_loss_is_a_falling_line() -> None:
    assert blocks([3.0, 2.0, 1.0]) == "█▅▁"


def test_many_points_make_forty_blocks() -> None:
    assert len(blocks([float(n) for n in range(1000)])) == 40


def test_a_flat_line_and_a_single_point_do_not_divide_by_zero() -> None:
    assert blocks([1.0, 1.0]) == "▁▁"
    assert curve([1.0]) == "1.000 -> 1.000  "
    assert curve([]) == ""


def test_nested_values_get_a_line_each_and_losses_a_curve() -> None:
    view = {
        "id": "j",
        "completed": {"losses": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], "rows": {"used": 3}},
        "stages": [{"detail": "fine"}],
    }
    assert readable(view) == {
        "id": "j",
        "completed.losses": "2.000 -> 1.000  █▁",
        "completed.rows": {"used": 3},
        "stages.1": "fine",
    }
