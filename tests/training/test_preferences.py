"""Preference methods: the child derives the exporter's pairs, counts only what the agent wrote, and learns from them."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from l07.backends.child import ChildTrainer
from l07.backends.preferring import Preferences
from l07.domain import world
from l07.domain.job import JobConfig
from l07.domain.methods import METHODS, effective_options
from l07.domain.preference import PreferenceRules
from l07.errors import BadJob, NothingToTrainOn
from l07.training import dpo, feed, kto, rows, tiny
from l07.training.progress import ProgressFile
from l07.training.task import Task
from tests.curation import a_row
from tests.training.worlds import FOUR_STEPS, run_child, scored_rows, write_dataset
from tests.versions import a_version

pytestmark = [pytest.mark.training, pytest.mark.slow]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer(tiny._texts(world.documents(200, 0), 0))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("world") / "dataset"
    return folder, write_dataset(folder, scored_rows(60, 7))


def a_task(folder: Path, tokenizer: Any, tmp_path: Path, *, method: str = "dpo", **job: Any) -> Task:
    named = {"dataset": str(folder), "seed": 7, "method": method, **job}
    config = JobConfig(max_length=512)
    return Task(named, tmp_path, config, effective_options(method, {}), tokenizer, "base", ProgressFile(tmp_path))


# ------------------------------------------------------------------ what is learned from


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the curator: runs of the world, good and bad, scored."""
    made = []
    for number, done in enumerate(world.demo_runs(40, 3)):
        score = (90.0 if done.success else 20.0) + number % 7
        about = {"task_id": done.task.task_id, "domain": done.task.domain, "messages": list(done.messages)}
        made.append(a_row(f"{done.agent}-{done.task.task_id}", score=score, offset=number, **about))
    return a_version(tmp_path_factory.mktemp("version"), *made)


def exported(version: Path, rules: PreferenceRules, kind: str) -> list[dict[str, Any]]:
    found = Preferences(version, rules, kind=kind)
    return [row for split in ("train", "validation") for row in found.rows(split)]


def tokens(tokenizer: Any, prompt: Any, completion: Any, tools: Any) -> tuple[int, ...]:
    ids, mask = rows.encode(rows.chat({"messages": _stored([*prompt, *completion]), "tools": tools}), tokenizer)
    return tuple(ids[: len(mask) - mask[::-1].index(1)])


def _stored(messages: Any) -> list[Any]:
    return [json.loads(json.dumps(message)) for message in messages]


@pytest.mark.parametrize("compare", ["rest", "turn", "run"])
def test_child_and_exporter_give_the_same_pairs(version: Path, tokenizer: Any, tmp_path: Path, compare: Any) -> None:
    rules = PreferenceRules(compare=compare, balance_length=compare != "run")
    told = {"seed": 7, "compare": compare, "balance_length": rules.balance_length}
    mine = feed.pairs(a_task(version, tokenizer, tmp_path, preference=told))
    theirs = exported(version, rules, "dpo")
    assert len(theirs) > 5
    assert sorted(
        tuple(tokens(tokenizer, row["prompt"], row[side], row.get("tools")) for side in ("chosen", "rejected"))
        for row in theirs
    ) == sorted((tuple(p.prompt + p.chosen.ids), tuple(p.prompt + p.rejected.ids)) for p in mine.all)


def test_child_and_exporter_give_the_same_labels(version: Path, tokenizer: Any, tmp_path: Path) -> None:
    mine = feed.labels(a_task(version, tokenizer, tmp_path))
    theirs = exported(version, PreferenceRules(), "kto")
    assert len(theirs) > 10
    assert sorted(
        (tokens(tokenizer, row["prompt"], row["completion"], row.get("tools")), row["label"]) for row in theirs
    ) == sorted((tuple(run.prompt + run.completion.ids), run.desirable) for run in mine.all)


def test_only_what_the_agent_wrote_counts_and_it_ends_with_its_last_token(
    dataset: tuple[Path, str], tokenizer: Any, tmp_path: Path
) -> None:
    told = {"compare": "run", "balance_length": False}
    fed = feed.pairs(a_task(dataset[0], tokenizer, tmp_path, preference=told))
    for pair in fed.all:
        for said in (pair.chosen, pair.rejected):
            counted = tokenizer.decode([i for i, one in zip(said.ids, said.mask, strict=True) if one])
            left = tokenizer.decode([i for i, one in zip(said.ids, said.mask, strict=True) if not one])
            assert '{"status"' not in counted
            assert "<tool_call>" in counted
            assert "<tool_call>" not in left
            assert said.mask[0] == said.mask[-1] == 1
            assert said.ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(pair.prompt).endswith("<|turn|>assistant\n")
    assert any(0 in pair.chosen.mask for pair in fed.all), "a tool's output stands between two turns"


def test_the_batches_say_the_same_of_what_counts(dataset: tuple[Path, str], tokenizer: Any, tmp_path: Path) -> None:
    fed = feed.pairs(a_task(dataset[0], tokenizer, tmp_path))
    batch = dpo.Batches(fed.all, tokenizer.pad_token_id)([{"row": 0}, {"row": 1}])
    for number, said in enumerate([fed.all[n].chosen for n in (0, 1)] + [fed.all[n].rejected for n in (0, 1)]):
        written = [token for token, one in zip(said.ids, said.mask, strict=True) if one]
        counts = batch["completion_mask"][number].bool()
        assert batch["input_ids"][number][counts].tolist() == written
        assert int(batch["attention_mask"][number].sum()) == len(fed.all[number % 2].prompt) + len(said.ids)
    labels = feed.labels(a_task(dataset[0], tokenizer, tmp_path, method="kto"))
    three = kto.Batches(labels.all, tokenizer.pad_token_id)([{"row": n} for n in (0, 1, 2)])
    assert three["label"].tolist() == [labels.all[n].desirable for n in (0, 1, 2)]
    for number, other in ((0, 2), (1, 0), (2, 1)):
        mismatched = three["KL_input_ids"][number].tolist()
        assert mismatched[: len(labels.all[number].prompt)] == labels.all[number].prompt
        assert (
            labels.all[other].completion.ids
            == mismatched[len(labels.all[number].prompt) :][: len(labels.all[other].completion.ids)]
        )


def test_what_is_too_long_is_left_out_whole_and_counted(
    dataset: tuple[Path, str], tokenizer: Any, tmp_path: Path
) -> None:
    task = a_task(dataset[0], tokenizer, tmp_path)
    whole = feed.pairs(task)
    longest = max(len(p.prompt) + len(p.chosen.ids) for p in whole.all)
    short = feed.pairs(replace(task, config=JobConfig(max_length=longest - 1)))
    assert short.too_long > 0
    assert len(short.all) + short.too_long >= len(whole.all)
    assert all(len(p.prompt) + max(len(p.chosen.ids), len(p.rejected.ids)) < longest for p in short.all)


def test_prompts_end_where_the_agent_is_to_call_and_hold_the_tools(
    dataset: tuple[Path, str], tokenizer: Any, tmp_path: Path
) -> None:
    task = replace(a_task(dataset[0], tokenizer, tmp_path), options={"completion_tokens": 48})
    fed = feed.prompts(task)
    assert len(fed.train) > 100
    for prompt in fed.train[:50]:
        text = tokenizer.decode(prompt.ids)
        assert text.endswith("<|turn|>assistant\n")
        assert prompt.row["messages"][prompt.at]["tool_calls"]
        assert prompt.row["tools"][0]["function"]["name"] in text


# ------------------------------------------------------------------ jobs


class Bench:
    def __init__(self, folder: Path, dataset: tuple[Path, str]) -> None:
        self.base, (self.dataset, self.digest) = folder / "base" / "out", dataset
        self.base_digest = run_child(folder / "base", {**FOUR_STEPS, "output": str(self.base)})["digest"]

    def job(self, folder: Path, method: str, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        job = {
            "kind": "train", "job_id": "job-1", "attempt": 1, "seed": 7, "threads": 1, "base": str(self.base), "base_digest": self.base_digest,
            "dataset": str(self.dataset), "dataset_digest": self.digest, "method": method, "config": {"max_steps": 4, "batch_size": 4},
            "options": {}, "output": str(folder / "out"),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps({**job, **changes}), "utf-8")
        return folder


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, dataset: tuple[Path, str]) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), dataset)


@pytest.mark.parametrize("method", ["dpo", "kto"])
async def test_a_job_learns_to_prefer_and_leaves_one_adapter(bench: Bench, tmp_path: Path, method: str) -> None:
    result = await ChildTrainer().run(bench.job(tmp_path, method))
    assert (result["steps"], len(result["losses"])) == (4, 4)
    assert result["rows"]["used"] > 10
    assert result["tokens"] > 0
    assert result["curves"]["eval_rewards/margins"][-1]["eval_rewards/margins"] > 0, (
        "chosen runs gained on rejected ones in four steps"
    )
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    weights = {name for name in files if name.endswith(".safetensors")}
    assert weights == {"adapter_model.safetensors"}, "no reference adapter beside it"
    assert json.loads((tmp_path / "out" / "l07.json").read_text("utf-8"))["method"] == method
    log = (tmp_path / "child.log").read_text("utf-8")
    assert not any(animal in log for animal in ("otter", "falcon", "tiger")), "no prompt in a log"


async def test_the_same_job_gives_the_same_weights(bench: Bench, tmp_path: Path) -> None:
    one = await ChildTrainer().run(bench.job(tmp_path / "one", "dpo", config={"max_steps": 2, "batch_size": 4}))
    same = await ChildTrainer().run(bench.job(tmp_path / "same", "dpo", config={"max_steps": 2, "batch_size": 4}))
    assert one["digest"] == same["digest"]


async def test_a_version_without_rejected_runs_has_nothing_to_prefer(bench: Bench, tmp_path: Path) -> None:
    rng = random.Random(1)
    good = [row for row in scored_rows(20, 7) if row["decision"] == "ACCEPT"]
    digest = write_dataset(tmp_path / "dataset", rng.sample(good, len(good)))
    job = bench.job(tmp_path / "job", "dpo", dataset=str(tmp_path / "dataset"), dataset_digest=digest)
    with pytest.raises(NothingToTrainOn, match="accepted and rejected runs of the same task"):
        await ChildTrainer().run(job)


async def test_an_option_out_of_its_bounds_is_told(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(BadJob, match=f"beta: {METHODS['dpo'].options['beta'].least:g} to 10"):
        await ChildTrainer().run(bench.job(tmp_path, "dpo", options={"beta": 0}))
