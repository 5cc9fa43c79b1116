"""Each attempt works alone; the first that ends well gives the job its one result."""

import json
from pathlib import Path

from l07.pipeline import attempts


def ended(own: Path, **result: object) -> None:
    (own / "result.json").write_text(json.dumps({"status": "completed", **result}), "utf-8")


def test_each_attempt_has_a_folder_and_an_output_of_its_own(tmp_path: Path) -> None:
    one, two = (attempts.begin(tmp_path / "job", {"kind": "train"}) for _ in range(2))
    assert one != two
    outputs = {json.loads((own / "job.json").read_text("utf-8"))["output"] for own in (one, two)}
    assert outputs == {str(one / "out"), str(two / "out")}


def test_the_first_that_is_settled_stays(tmp_path: Path) -> None:
    one, two = (attempts.begin(tmp_path, {}) for _ in range(2))
    ended(one, digest="one")
    ended(two, digest="two")
    assert attempts.settle(tmp_path, two)["digest"] == "two"
    assert attempts.settle(tmp_path, one)["digest"] == "two"
    result = attempts.finished(tmp_path)
    assert result is not None
    assert attempts.output(tmp_path, result) == two / "out"


def test_an_attempt_that_ended_before_anybody_said_so_counts(tmp_path: Path) -> None:
    attempts.begin(tmp_path, {})
    ended(own := attempts.begin(tmp_path, {}), digest="d")
    result = attempts.finished(tmp_path)
    assert result is not None
    assert attempts.output(tmp_path, result) == own / "out"


def test_a_failed_or_half_written_attempt_is_no_result(tmp_path: Path) -> None:
    (attempts.begin(tmp_path, {}) / "result.json").write_text('{"status": "failed"}', "utf-8")
    (attempts.begin(tmp_path, {}) / "result.json").write_text('{"status": "comp', "utf-8")
    assert attempts.finished(tmp_path) is None


def test_a_result_of_the_release_before_is_read_where_it_lies(tmp_path: Path) -> None:
    ended(tmp_path, digest="old")
    result = attempts.finished(tmp_path)
    assert result is not None
    assert attempts.output(tmp_path, result) == tmp_path / "out"


def test_a_failure_of_the_release_before_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"status": "failed"}', "utf-8")
    ended(own := attempts.begin(tmp_path, {}), digest="new")
    assert attempts.settle(tmp_path, own)["digest"] == "new"
