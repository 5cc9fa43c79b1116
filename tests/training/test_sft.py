"""Training for real: what is learned from, that a kill changes nothing, and a code for each thing that can be wrong."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends.child import ChildTrainer
from l07.domain import world
from l07.errors import (
    BaseDiffers,
    BaseIncomplete,
    ChildDiskFull,
    ChildError,
    ChildKilled,
    ChildOutOfMemory,
    DatasetDiffers,
    DoesNotFit,
    LossNotFinite,
    NothingToTrainOn,
    TemplateUnfit,
)
from l07.training import rows, tiny
from l07.training.base import base_digest
from tests.training.worlds import Bench

pytestmark = [pytest.mark.training, pytest.mark.slow]

TWO_TURNS = {
    "messages": [
        {"role": "user", "content": "cancel otter-42"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "cancel_order", "arguments": {"order_id": "otter-42"}}}],
        },
        {"role": "tool", "content": '{"status": "ok"}'},
        {"role": "assistant", "content": "Done."},
    ],
    "tools": [],
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer(tiny._texts(world.documents(200, 0), 0))


# A child that takes its machine for larger than it is.
HOPEFUL = """
import sys
from dataclasses import replace
from l07.training import footprint
from l07.training.__main__ import main
fitted = footprint.fitted
def hopeful(task, data, shape, plan, machine, **more):
    return fitted(task, data, shape, plan, replace(machine, memory_bytes=10**15), **more)
footprint.fitted = hopeful
sys.exit(main(sys.argv[1:]))
"""


async def refused(job: Path, expected: type[ChildError], match: str, command: list[str] | None = None) -> None:
    with pytest.raises(expected, match=match):
        await ChildTrainer(command=command).run(job)
    assert not (job / "out").exists()


# ------------------------------------------------------------------ what is learned from


def test_only_what_the_assistant_said_is_learned_from(tokenizer: Any) -> None:
    (row,) = rows.tokenise([TWO_TURNS], tokenizer, 256).rows
    learned = tokenizer.decode([token for token in row.labels if token != rows.IGNORED])
    assert (
        learned
        == '<tool_call>{"name": "cancel_order", "arguments": {"order_id": "otter-42"}}</tool_call><|stop|>Done.<|stop|>'
    )
    assert [token for token, label in zip(row.ids, row.labels, strict=True) if label not in (rows.IGNORED, token)] == []


def test_a_row_that_is_too_long_is_cut_and_counted(tokenizer: Any) -> None:
    exact = len(rows.encode(TWO_TURNS, tokenizer)[0])
    done = [rows.tokenise([TWO_TURNS], tokenizer, limit) for limit in (exact - 1, exact, exact + 1)]
    assert [(len(one.rows), one.cut, one.too_long) for one in done] == [(1, 1, 0), (1, 0, 0), (1, 0, 0)]


def test_arguments_and_tools_may_be_text_or_objects() -> None:
    call = {"id": None, "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    row = {
        "messages": [{"role": "assistant", "content": None, "tool_calls": [call], "name": None}],
        "tools": '[{"type": "function"}]',
    }
    told = rows.chat(row)
    assert told["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert told["messages"][0]["content"] == ""
    assert told["tools"] == [{"type": "function"}]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("no marks", lambda text: text.replace("{% generation %}", "").replace("{% endgeneration %}", "")),
        ("no calls", lambda text: text.replace("m.tool_calls or []", "[]")),
        ("no tools", lambda text: text.replace("{%- if tools -%}", "{%- if false -%}")),
        ("no outputs", lambda text: text.replace("{{ m.content }}", "{{ m.content if m.role == 'user' else '' }}")),
        (
            "marks the user",
            lambda text: text.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}"),
        ),
        ("nothing", lambda text: None),
    ],
)
def test_a_template_that_drops_or_marks_the_wrong_thing_is_refused(
    tokenizer: Any, name: str, spoil: Callable[[str], str | None]
) -> None:
    whole = tokenizer.chat_template
    try:
        tokenizer.chat_template = spoil(whole)
        with pytest.raises(TemplateUnfit) as caught:
            rows.check_template(tokenizer)
        assert caught.value.code == "E7725"
    finally:
        tokenizer.chat_template = whole


# ------------------------------------------------------------------ a run


async def test_a_run_measures_what_it_did_and_leaves_an_adapter_that_loads(bench: Bench, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    async def collect(line: Any) -> None:
        seen.append(dict(line))

    result = await ChildTrainer().run(bench.job(tmp_path), on_progress=collect)
    assert [point["step"] for point in result["losses"]] == [1, 2, 3, 4, 5, 6]
    assert result["losses"][-1]["loss"] < result["losses"][0]["loss"]
    assert result["eval_losses"]
    assert result["rows"]["used"] > 50
    assert (result["rows"]["canaries"], result["rows"]["too_long"], result["steps"]) == (2, 0, 6)
    assert result["config"]["learning_rate"] == tiny.RECOMMENDED["learning_rate"], (
        "the base's recommendation, since the job set none"
    )
    assert result["tokens"] > 0
    assert result["peak_rss_bytes"] > 10**8
    told = {"step", "steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_s", "eta_s"}
    assert set(seen[0]) == {"hardware", "memory"}, "before the first step"
    assert set(seen[1]) == told
    out = tmp_path / "out"
    of_tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {path.name for path in out.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "l07.json",
    } | of_tokenizer
    assert all((out / name).read_bytes() == (bench.base / name).read_bytes() for name in of_tokenizer)
    assert json.loads((tmp_path / "out" / "l07.json").read_text("utf-8"))["base_digest"] == bench.base_digest
    assert "otter" not in (tmp_path / "child.log").read_text("utf-8"), "no prompt in a log"
    _loads(bench.base, tmp_path / "out")


def _loads(base: Path, adapter: Path) -> None:
    """In a process of its own: peft warns at import of what the product does not use."""
    code = (
        "import sys, peft, transformers, torch; base = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]); ids = torch.arange(9)[None]; "
        "before = base(ids).logits; after = peft.PeftModel.from_pretrained(base, sys.argv[2])(ids).logits; assert not torch.equal(before, after)"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code, str(base), str(adapter)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]


async def test_a_run_that_is_killed_and_started_again_ends_with_the_same_weights(bench: Bench, tmp_path: Path) -> None:
    quiet = await ChildTrainer().run(bench.job(tmp_path / "quiet"))
    folder = bench.job(tmp_path / "killed", config={"max_steps": 6, "batch_size": 4})
    struck = asyncio.Event()

    async def strike(_: Any) -> None:
        if not struck.is_set():
            struck.set()
            (child,) = [one for one in psutil.Process().children() if str(folder) in one.cmdline()]
            os.kill(child.pid, signal.SIGKILL)

    slow = bench.job(tmp_path / "killed", config={"max_steps": 400})
    with pytest.raises(ChildKilled) as caught:
        await ChildTrainer().run(slow, on_progress=strike)
    assert caught.value.again
    assert not (folder / "out").exists()
    assert not (folder / "result.json").exists()
    assert (folder / "out.partial").exists(), "it was really cut off in the middle"
    again = await ChildTrainer().run(bench.job(tmp_path / "killed", attempt=2))
    assert again["digest"] == quiet["digest"]
    assert again["files"] == quiet["files"]
    assert not (folder / "out.partial").exists()


async def test_another_seed_gives_other_weights(bench: Bench, tmp_path: Path) -> None:
    first = await ChildTrainer().run(bench.job(tmp_path / "a", config={"max_steps": 2}))
    other = await ChildTrainer().run(bench.job(tmp_path / "b", config={"max_steps": 2}, seed=8))
    assert first["digest"] != other["digest"]


# ------------------------------------------------------------------ what can be wrong


async def test_nothing_that_fits_is_nothing_to_train_on(bench: Bench, tmp_path: Path) -> None:
    await refused(bench.job(tmp_path, config={"max_length": 16}), NothingToTrainOn, "are too long")


async def test_a_loss_that_is_no_number_stops_the_run(bench: Bench, tmp_path: Path) -> None:
    await refused(
        bench.job(tmp_path, config={"learning_rate": 1e30, "clip": 1e30}), LossNotFinite, "learning_rate|after training"
    )


async def test_a_dataset_of_another_digest_is_not_trained_on(bench: Bench, tmp_path: Path) -> None:
    await refused(bench.job(tmp_path, dataset_digest="0" * 64), DatasetDiffers, "the job names")


async def test_a_damaged_or_missing_dataset_is_told(bench: Bench, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(bench.dataset, dataset)
    with (dataset / "data" / "train-00000-of-00001.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetDiffers, match="does not fit the manifest"):
        rows.check_dataset(dataset, bench.digest)
    with pytest.raises(DatasetDiffers, match="cannot be read"):
        rows.check_dataset(tmp_path / "nothing", bench.digest)


async def test_a_base_of_another_digest_is_not_trained(bench: Bench, tmp_path: Path) -> None:
    await refused(bench.job(tmp_path, base_digest="0" * 64), BaseDiffers, "the job names")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
async def test_a_base_that_lacks_a_file_is_told(bench: Bench, tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(bench.base, base)
    (base / name).unlink()
    await refused(bench.job(tmp_path / "job", base=str(base)), BaseIncomplete, name.replace("model", r"\*"))


async def test_a_base_whose_weights_cannot_be_read_is_told(bench: Bench, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(bench.base, base)
    (base / "model.safetensors").write_bytes(b"\0" * 64)
    await refused(
        bench.job(tmp_path / "job", base=str(base), base_digest=base_digest(base)), BaseIncomplete, "cannot be loaded"
    )


async def test_too_little_memory_is_told(bench: Bench, tmp_path: Path) -> None:
    """Before weights are read; and where the estimate was too small, by what the allocator says."""
    wide = {"lora": {"rank": 400_000}}  # gigabytes of adapter, asked for in one piece
    job = bench.job(tmp_path, memory_limit_bytes=3_000_000_000, config=wide)
    await refused(job, DoesNotFit, "the job needs about")
    await refused(job, ChildOutOfMemory, "memory", [sys.executable, "-c", HOPEFUL])


async def test_a_full_disk_leaves_nothing_half_written(bench: Bench, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the disk: the kernel refuses the write in the same place."""
    limited = ["bash", "-c", 'ulimit -f 300; exec "$0" -m l07.training "$@"', sys.executable]
    await refused(bench.job(tmp_path), ChildDiskFull, "disk is full", command=limited)
