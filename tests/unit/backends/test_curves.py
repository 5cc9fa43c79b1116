"""A job's curves as files: the same numbers as data and as pictures."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from l07.backends.curves import MOST_POINTS, draw, read, scale, thinned, write
from l07.domain.curve import Curve

NAMES = "{http://www.w3.org/2000/svg}"


def an_attempt(folder: Path, number: int, *lines: object, **result: object) -> None:
    own = folder / f"attempt-{number}"
    own.mkdir(parents=True)
    (own / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result:
        (own / "result.json").write_text(json.dumps(result))


def a_curve(**values: list[float]) -> Curve:
    count = max(map(len, values.values()))
    return Curve([{"step": n, **{k: v[n] for k, v in values.items() if n < len(v)}} for n in range(count)])


def test_a_folders_attempts_become_data_and_pictures(tmp_path: Path) -> None:
    line = {"step": 1, "steps": 4, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0, "tokens_per_s": 9.0}
    an_attempt(tmp_path, 1, {"state": "TRAINING"}, line)
    an_attempt(
        tmp_path, 10, {**line, "step": 2, "loss": 1.0}, {**line, "step": 4, "loss": 0.5},
        status="completed", losses=[], eval_losses=[{"step": 4, "loss": 0.75}],
    )  # fmt: skip
    an_attempt(tmp_path, 2, {**line, "step": 2, "loss": 7.0})
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "curve.json", "curve.csv", "loss.svg", "learning_rate.svg", "grad_norm.svg",
    }  # fmt: skip
    points = json.loads((tmp_path / "curve.json").read_text())["points"]
    assert [(point["step"], point["loss"]) for point in points] == [(1, 2.0), (2, 1.0), (4, 0.5)]
    assert points[-1]["eval_loss"] == 0.75
    drawn = ElementTree.fromstring((tmp_path / "loss.svg").read_text())
    assert len(drawn.findall(f".//{NAMES}circle")) == 1
    write(tmp_path)
    assert json.loads((tmp_path / "curve.json").read_text())["points"] == points


def test_a_job_that_said_nothing_has_no_curves(tmp_path: Path) -> None:
    an_attempt(tmp_path, 1, {"state": "INITIALIZING"})
    write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-1"]


def test_what_was_cut_off_costs_its_own_line_only(tmp_path: Path) -> None:
    an_attempt(tmp_path, 1, {"step": 1, "loss": 2.0})
    path = tmp_path / "attempt-1" / "progress.jsonl"
    path.write_text(path.read_text() + '{"step": 2, "lo')
    (tmp_path / "attempt-1" / "result.json").write_text('{"status": "comp')
    assert read(tmp_path).points == [{"step": 1, "loss": 2.0}]


def test_a_methods_own_number_gets_a_picture_with_a_name_that_a_folder_can_hold() -> None:
    files = draw(a_curve(loss=[1.0, 2.0], **{"rewards/margins": [0.0, 1.0], "../x": [1.0, 2.0]}))
    assert set(files) == {"loss.svg", "rewards-margins.svg", "x.svg"}


def test_a_way_goes_from_left_to_right_and_a_smaller_loss_lies_lower() -> None:
    drawn = ElementTree.fromstring(draw(a_curve(loss=[4.0, 3.0, 1.0]))["loss.svg"])
    (way,) = [path.get("d") or "" for path in drawn.findall(f"{NAMES}path") if path.get("class") == "way"]
    points = [tuple(map(float, place.split())) for place in way.removeprefix("M").split("L")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)


def test_one_step_alone_is_no_picture() -> None:
    assert draw(a_curve(loss=[1.0])) == {}


def test_the_same_numbers_give_the_same_bytes_and_no_script() -> None:
    curve = a_curve(loss=[1.0, 0.5], grad_norm=[2.0, 2.0])
    assert draw(curve) == draw(curve)
    assert all("<script" not in drawn for drawn in draw(curve).values())


def test_a_long_way_is_thinned_and_keeps_its_ends() -> None:
    points = [(float(n), float(n % 7)) for n in range(10_000)]
    few = thinned(points)
    assert len(few) <= MOST_POINTS + 2
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert thinned(points[:5]) == points[:5]


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (0.31, 4.7), (-2.0, 3.0), (1e-6, 2e-4), (0.0, 0.0), (5.0, 5.0), (999.0, 1001.0), (-1e9, 1e9)],
)
def test_a_scale_is_round_and_holds_what_is_drawn(low: float, high: float) -> None:
    steps = scale(low, high)
    assert steps[0] <= low <= high <= steps[-1]
    assert 3 <= len(steps) <= 8
    assert steps == sorted(set(steps))
