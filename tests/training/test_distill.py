"""Distillation: how far two models are apart, what is learned from, that a kill changes nothing, and a code for each wrong teacher."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from transformers import AutoTokenizer

from l07.errors import BadJob, BaseDiffers, ChildError, TeacherUnfit
from l07.pipeline.train.teaching import weights_digest
from l07.training import course, distill, engine, resume, teacher
from tests.training.worlds import Bench

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings(
        "ignore"
    ),  # those of peft about transformers, that our base is on no hub, that GKD is experimental
]

CONFIG = {"max_steps": 12, "batch_size": 8, "lora": {"dropout": 0.1, "rank": 4}}
SEQUENCE_LEVEL = {"on_policy": 0, "soft_weight": 0, "hard_weight": 1}


class CutOff(Exception):
    """Stands for kill -9: nothing after it is written."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def master(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = bench.job(tmp_path_factory.mktemp("teacher"), config={"max_steps": 15, "batch_size": 8})
    made = course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)
    about = {"base": str(bench.base), "base_digest": bench.base_digest}
    return {"folder": str(folder / "out"), "digest": made["digest"], **about}


def run(
    bench: Bench, folder: Path, master: Any, options: dict[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    asked = {"completion_tokens": 16, **(options or {})}
    job = {"method": "distill", "config": CONFIG, "options": asked, "teacher": master, "checkpoints": {"steps": 4}}
    bench.job(folder, **{**job, **more})
    return course.run(json.loads((folder / "job.json").read_text("utf-8")), folder)


# ------------------------------------------------------------------ how far apart


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_the_divergence_is_that_of_the_paper_as_trl_has_it(beta: float) -> None:
    from trl.experimental.gkd import GKDTrainer

    torch.manual_seed(3)
    student, expected = torch.randn(5, 40) * 3, torch.randn(5, 40) * 3
    theirs = GKDTrainer.generalized_jsd_loss(student[None], expected[None], beta=beta, reduction="none")[0].sum(-1)
    found = distill.divergence(student, expected, beta)
    assert torch.allclose(found, theirs, atol=1e-5)
    assert (found > 0.01).all()
    assert torch.allclose(distill.divergence(student, student + 2, beta), torch.zeros(5), atol=1e-5)


def test_a_student_comes_nearer_to_its_teacher(bench: Bench, master: dict[str, str], tmp_path: Path) -> None:
    slow = {"rate_scale": 0.5}  # the first look comes after four steps, and is to see it begin
    made = run(bench, tmp_path / "both", master, slow, config={**CONFIG, "max_steps": 24}, checkpoints={})
    looks = [look["loss"] for look in made["eval_losses"]]
    assert looks[-1] < 0.6 * looks[0]
    own = [point["own"] for point in made["curves"]["own"]]
    assert set(own) == {0.0, 1.0}, "some batches are the student's, some the teacher's"
    assert made["tokens"] > 0


def test_the_teacher_s_answers_alone_are_learned_from_by_likelihood(
    bench: Bench, master: dict[str, str], tmp_path: Path
) -> None:
    made = run(bench, tmp_path, master, {**SEQUENCE_LEVEL}, checkpoints={})
    assert {point["own"] for point in made["curves"]["own"]} == {0.0}
    assert made["eval_losses"][-1]["loss"] < made["eval_losses"][0]["loss"]


# ------------------------------------------------------------------ what is written


def test_an_answer_is_the_likeliest_one_whatever_stands_beside_it(bench: Bench, master: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(bench.base), local_files_only=True)
    model = teacher.load(master, tokenizer)
    asked = [
        [{"role": "user", "content": text}] for text in ("cancel otter-42", "please", "where is order lynx-69 now")
    ]
    prompts = [
        tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=True)["input_ids"] for one in asked
    ]
    found = teacher.Writer(tokenizer, 12, 0).answers(model, prompts)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = list(prompt)
        for token in answer:
            assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)
        assert answer.count(tokenizer.eos_token_id) == int(answer[-1] == tokenizer.eos_token_id)
        assert len(answer) == 12 or answer[-1] == tokenizer.eos_token_id


def test_recorded_turns_may_stand_for_the_teacher_s(
    bench: Bench, master: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    kept = distill._Places

    def places(prompts: Any, answers: Any, tokenizer: Any) -> Any:
        seen.extend(zip(prompts, answers, strict=True))
        return kept(prompts, answers, tokenizer)

    monkeypatch.setattr(distill, "_Places", places)
    run(
        bench,
        tmp_path,
        master,
        {"teacher_answers": 0, "completion_tokens": 48},
        config={**CONFIG, "max_steps": 1},
        checkpoints={},
    )
    tokenizer = AutoTokenizer.from_pretrained(str(bench.base), local_files_only=True)
    for prompt, answer in seen[:20]:
        call = prompt.row["messages"][prompt.at]["tool_calls"][0]["function"]
        assert call["name"] in tokenizer.decode(answer)
        assert answer[-1] == tokenizer.eos_token_id


# ------------------------------------------------------------------ a kill


def test_cut_off_it_ends_with_the_same_weights(
    bench: Bench, master: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cutting(resume.Keeper):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == 7:
                raise CutOff
            super().on_step_end(args, state, control, **more)

    whole = run(bench, tmp_path / "whole", master, checkpoints={})
    with monkeypatch.context() as patch:
        patch.setattr(engine, "Keeper", Cutting)
        with pytest.raises(CutOff):
            run(bench, tmp_path / "cut", master)
    again = run(bench, tmp_path / "cut", master)
    assert again["resumed_from"] == 4
    assert again["digest"] == whole["digest"]
    assert (again["losses"], again["curves"], again["tokens"]) == (whole["losses"], whole["curves"], whole["tokens"])


# ------------------------------------------------------------------ what is wrong


def test_the_trainer_names_a_teacher_s_weights_as_the_child_does(master: dict[str, str]) -> None:
    assert weights_digest(Path(master["folder"])) == master["digest"]


def other_digest(told: dict[str, str], folder: Path) -> dict[str, str]:
    return {**told, "digest": "0" * 64}


def nowhere(told: dict[str, str], folder: Path) -> dict[str, str]:
    return {**told, "folder": str(folder / "nowhere")}


def no_language_model(told: dict[str, str], folder: Path) -> dict[str, str]:
    shutil.copytree(told["folder"], folder / "scorer")
    path = folder / "scorer" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "task_type": "SEQ_CLS"}), "utf-8")
    return {**told, "folder": str(folder / "scorer")}


def other_base(told: dict[str, str], folder: Path) -> dict[str, str]:
    return {**told, "base_digest": "0" * 64}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (other_digest, TeacherUnfit),
        (nowhere, TeacherUnfit),
        (no_language_model, TeacherUnfit),
        (other_base, BaseDiffers),
    ],
)
def test_a_teacher_that_is_not_the_one_has_a_code(
    bench: Bench,
    master: dict[str, str],
    tmp_path: Path,
    spoil: Callable[[dict[str, str], Path], dict[str, str]],
    expected: type[ChildError],
) -> None:
    with pytest.raises(expected):
        run(bench, tmp_path / "job", spoil(master, tmp_path))
    assert not (tmp_path / "job" / "out").exists()


def test_a_teacher_with_other_tokens_is_refused(bench: Bench, master: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(bench.base), local_files_only=True)
    tokenizer.add_tokens(["another"])
    with pytest.raises(TeacherUnfit, match="another vocabulary") as caught:
        teacher.load(master, tokenizer)
    assert caught.value.code == "E7737"


@pytest.mark.parametrize(
    ("options", "named", "said"),
    [
        ({}, False, "names its teacher"),
        ({"soft_weight": 0}, True, "nothing is learned"),
        ({**SEQUENCE_LEVEL, "on_policy": 0.5}, True, "nothing is learned"),
    ],
)
def test_a_job_that_would_learn_nothing_is_refused(
    bench: Bench, master: dict[str, str], tmp_path: Path, options: dict[str, float], named: bool, said: str
) -> None:
    with pytest.raises(BadJob, match=said):
        run(bench, tmp_path, master if named else None, options)
