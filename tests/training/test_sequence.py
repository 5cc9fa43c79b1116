"""The order of the train rows: the version's curriculum or its shuffled arm, exactly, also after a kill; else a code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from datasets import Dataset

from l07.backends.parquet_rows import iter_in_order
from l07.domain.attempts import row_as_said
from l07.errors import CurriculumUnfit
from l07.training import course, engine, resume, sequence, sft
from tests.curation import a_row
from tests.training.worlds import Bench, rows_of_world, sign, write_curriculum
from tests.versions import a_version

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]


class CutOff(Exception):
    """Stands for kill -9: nothing after it is written."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"))
    made.digest = write_curriculum(made.dataset, rows_of_world(40, 7), seed=7)
    return made


def first_words(rows: list[Any]) -> list[str]:
    return [next(str(m["content"]) for m in row["messages"] if m["role"] == "user") for row in rows]


@pytest.mark.parametrize(("which", "rank"), [(1, "rank"), (2, "rank_shuffled")])
def test_rows_come_in_the_order_of_a_version_that_the_curator_built(tmp_path: Path, which: int, rank: str) -> None:
    version = a_version(tmp_path / "version", *[a_row(f"run-{number}") for number in range(30)])
    wanted = [row_as_said(row) for row in iter_in_order(version, rank)]
    found = sequence.read_train(version, which, tmp_path / "cache")
    assert first_words(found) == first_words(wanted)
    assert len(found) > 5
    stored = sequence.read_train(version, 0, tmp_path / "cache")
    assert first_words(stored) != first_words(found), "the control"
    assert sorted(first_words(stored)) == sorted(first_words(found))


# ------------------------------------------------------------------ what does not fit


def change(name: str, to: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        table = Dataset.from_parquet(str(path), keep_in_memory=True)
        columns = {column: table[column][:] for column in table.column_names}
        Dataset.from_dict({**columns, name: to(columns[name])}).to_parquet(str(path))

    return spoil


def without_a_row(path: Path) -> None:
    table = Dataset.from_parquet(str(path), keep_in_memory=True)
    Dataset.from_dict(table[1:]).to_parquet(str(path))


def without_a_column(path: Path) -> None:
    table = Dataset.from_parquet(str(path), keep_in_memory=True).remove_columns("rank")
    Dataset.from_dict(table[:]).to_parquet(str(path))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "has no curriculum.parquet"),
        (without_a_column, "has no columns `key` and `rank`"),
        (without_a_row, "entries do not give each of"),
        (change("rank", lambda ranks: [None, *ranks[1:]]), "`rank` is empty in some row"),
        (change("rank", lambda ranks: [ranks[1], *ranks[1:]]), "entries do not give each of"),
        (change("rank", lambda ranks: [rank + 1 for rank in ranks]), "entries do not give each of"),
        (change("key", lambda keys: ["another", *keys[1:]]), "entries do not give each of"),
        (change("key", lambda keys: [keys[1], *keys[1:]]), "entries do not give each of"),
    ],
)
def test_a_curriculum_that_does_not_fit_has_a_code(
    bench: Bench, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(bench.dataset, folder)
    spoil(folder / sequence.TABLE)
    with pytest.raises(CurriculumUnfit, match=said) as caught:
        run(bench, tmp_path / "job", 1, dataset=str(folder), dataset_digest=sign(folder))
    assert caught.value.code == "E7734"
    assert not (tmp_path / "job" / "out").exists()


def test_canaries_stand_at_even_distances() -> None:
    assert sequence.spread([0, 1, 2, 3, 4, 5, 6, 7], ["a", "b"]) == [0, 1, "a", 2, 3, 4, 5, "b", 6, 7]
    assert sequence.spread([0, 1], ["a", "b", "c", "d"]) == ["a", "b", 0, "c", "d", 1]
    assert sequence.spread([], ["a"]) == ["a"]
    assert sequence.spread([0, 1], []) == [0, 1]


# ------------------------------------------------------------------ in a run

CONFIG = {"max_steps": 30, "batch_size": 8, "lora": {"dropout": 0.1, "rank": 4}}  # 14 steps an epoch


def run(bench: Bench, folder: Path, which: int, **changes: Any) -> dict[str, Any]:
    bench.job(folder, config=CONFIG, options={"curriculum": which}, **{"checkpoints": {"steps": 4}, **changes})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


def met(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The lengths of the rows of each batch that is learned from, as they come."""
    seen: list[list[int]] = []

    class Telling(sft._Trainer):  # type: ignore[misc]  # trl ships no types
        def training_step(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            seen.append([int(one) for one in inputs["attention_mask"].sum(dim=1)])
            return super().training_step(model, inputs, *more, **named)

    monkeypatch.setattr(sft, "_Trainer", Telling)
    return seen


@pytest.fixture(scope="module")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(bench, tmp_path_factory.mktemp("whole"), 1, checkpoints={})


@pytest.mark.parametrize("at", [15, 19])
def test_wherever_it_is_cut_off_it_goes_on_in_the_same_order(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    class Cutting(resume.Keeper):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == at:
                raise CutOff
            super().on_step_end(args, state, control, **more)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "Keeper", Cutting)
        with pytest.raises(CutOff):
            run(bench, tmp_path, 1)
    again = run(bench, tmp_path, 1)
    assert again["resumed_from"] == (at - 1) // 4 * 4
    assert again["digest"] == whole["digest"]
    assert again["options"] == {"curriculum": 1.0}


def test_each_pass_is_over_the_order_and_the_shuffled_arm_is_another_run(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[int] = []
    table = sft._table
    monkeypatch.setattr(sft, "_table", lambda rows: learned.extend(len(row.ids) for row in rows) or table(rows))
    seen = met(monkeypatch)
    shuffled = run(bench, tmp_path / "2", 2, checkpoints={})
    assert shuffled["digest"] != whole["digest"]
    count = shuffled["rows"]["used"] + shuffled["rows"]["canaries"]
    steps = -(-count // 8)
    for passes in (seen[:steps], seen[steps : 2 * steps]):
        assert [length for batch in passes for length in batch] == learned[:count]
    seen.clear()
    learned.clear()
    run(bench, tmp_path / "0", 0, checkpoints={})
    assert [length for batch in seen[:steps] for length in batch] != learned[:count], "the control: by chance"
