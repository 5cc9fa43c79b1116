"""A job that cannot fit ends before weights are read, and says what would fit; that then trains."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.domain.hardware import Machine
from l07.errors import BaseIncomplete, DoesNotFit
from l07.training import base, course, footprint, hardware
from tests.training.worlds import Bench

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # those of peft about transformers, and that our base is on no hub
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def run(bench: Bench, folder: Path, **config: Any) -> dict[str, Any]:
    bench.job(folder, config={"max_steps": 2, "batch_size": 8, **config})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


def beyond(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A machine with so many bytes for a job beside the process."""
    monkeypatch.setattr(footprint, "resident", lambda: 0)
    monkeypatch.setattr(hardware, "detect", lambda limit=None: Machine(memory_bytes=room))


def test_the_shape_is_that_of_the_weights(bench: Bench) -> None:
    shape = footprint.shape_of(bench.base, base.read_config(bench.base))
    model = base.read_model(bench.base)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    linear = [tuple(one.weight.shape) for name, one in model.named_modules() if name.endswith("_proj")]
    assert sorted(shape.linear) == sorted(linear)


def test_a_header_that_cannot_be_read_has_a_code(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{nothing")
    with pytest.raises(BaseIncomplete):
        footprint.shape_of(tmp_path, base.read_config(bench.base))


def test_a_job_says_at_its_start_what_it_will_take(bench: Bench, tmp_path: Path) -> None:
    told = run(bench, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text("utf-8").splitlines()]
    said = [line for line in lines if "memory" in line]
    assert len(said) == 1
    assert lines.index(said[0]) < next(at for at, line in enumerate(lines) if "step" in line)
    assert said[0]["hardware"]["device"] == told["hardware"]["device"]
    assert said[0]["memory"]["total_bytes"] == told["memory"]["total_bytes"] < told["memory"]["peak_bytes"] * 1.5


def test_what_cannot_fit_ends_before_a_weight_is_read_and_what_is_named_trains(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = run(bench, tmp_path / "first", gradient_checkpointing="off")["memory"]
    room = needed["total_bytes"] - needed["process_bytes"]
    with monkeypatch.context() as patch:
        beyond(patch, room * 4 // 5)
        patch.setattr(base, "read_model", lambda *_, **__: pytest.fail("weights were read"))
        with pytest.raises(DoesNotFit, match=r"training\.gradient_checkpointing = on fits") as caught:
            run(bench, tmp_path / "off", gradient_checkpointing="off")
        assert caught.value.code == "E7740"
        assert "GiB" in caught.value.message
        beyond(patch, 1000)
        with pytest.raises(DoesNotFit, match="a smaller base"):
            run(bench, tmp_path / "never")
    beyond(monkeypatch, room * 4 // 5)
    auto = run(bench, tmp_path / "auto")
    assert auto["hardware"]["gradient_checkpointing"], "it was chosen where nobody had said"
    smaller = run(bench, tmp_path / "smaller", gradient_checkpointing="off", micro_batch_size=2)
    assert smaller["steps"] == 2


def test_the_same_job_fits_where_there_is_room(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the above: nothing is changed that need not be."""
    beyond(monkeypatch, 2**40)
    assert not run(bench, tmp_path)["hardware"]["gradient_checkpointing"]


@pytest.mark.parametrize("kind", ["pairs", "labels", "prompts"])
def test_every_method_s_data_has_a_size(kind: str) -> None:
    from l07.training.feed import Fed, LabelTokens, PairTokens, Prompt, Said

    said = Said([1] * 20, [1] * 20)
    one: Any = {
        "pairs": PairTokens([1] * 30, said, Said([1] * 25, [1] * 25), 1.0),
        "labels": LabelTokens([1] * 30, said, True),
        "prompts": Prompt([1] * 30, {}, 0),
    }[kind]
    task: Any = type("Task", (), {"options": {"completion_tokens": 40, "generations": 8}})
    sizes = footprint.sizes_of(task, Fed([one] * 3, [], 0))
    assert (sizes.longest[0][0], sizes.a_row) == {"pairs": (55, 2), "labels": (50, 2), "prompts": (70, 8)}[kind]
