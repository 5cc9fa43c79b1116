"""Reward models and the policies that they train: measured on held-out pairs, checked while they train, stopped when they cheat."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from l07.backends.child import ChildTrainer
from l07.backends.store import FolderStore
from l07.domain.checkpoint import LAST_GOOD
from l07.domain.curve import curve_of
from l07.domain.job import JobConfig
from l07.domain.methods import effective_options
from l07.errors import BadJob, PolicyOutOfBounds, RewardHacked, RewardModelUnfit
from l07.pipeline.bases import prepare_base
from l07.training import base, checks, engine, feed, lora, own, reward, rloo, rollouts, scoring
from l07.training.measure.answers import read_call
from l07.training.measure.model import call_mark
from l07.training.progress import ProgressFile
from l07.training.task import Task
from tests.bases import BASES
from tests.training.worlds import run_child, scored_rows, write_dataset

pytestmark = [
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the policy is made at first use
    pytest.mark.filterwarnings("default"),  # what peft and transformers warn of is theirs
]


FEW = {"own_answers": 0.5}  # to be asked takes longer than the steps do


class Bench:
    """The mixed policy, a version with rejected runs, and a reward model of few steps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dataset = folder, folder / "dataset"
        self.digest = write_dataset(self.dataset, scored_rows(150, 7))
        made = asyncio.run(
            prepare_base("tiny-policy", aliases={}, store=FolderStore(BASES), trainer=ChildTrainer(), timeout_s=600)
        )
        self.base, self.base_digest = made.folder, made.digest
        asked = self.document("reward", folder / "reward", config={"max_steps": 40}, options=FEW)
        self.judged = run_child(folder / "reward", asked)

    def document(self, method: str, folder: Path, **changes: Any) -> dict[str, Any]:
        config = {"batch_size": 4, "max_steps": 3, **changes.pop("config", {})}
        return {
            "kind": "train", "job_id": "job-1", "attempt": 1, "seed": 7, "threads": 1, "base": str(self.base), "base_digest": self.base_digest,
            "dataset": str(self.dataset), "dataset_digest": self.digest, "method": method, "config": config, "options": {},
            "output": str(folder / "out"), **changes,
        }  # fmt: skip

    @property
    def reward_model(self) -> dict[str, Any]:
        folder = self.folder / "reward" / "out"
        return {
            "folder": str(folder),
            "digest": self.judged["digest"],
            "base": str(self.base),
            "base_digest": self.base_digest,
        }

    def job(self, folder: Path, method: str, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps(self.document(method, folder, **changes)), "utf-8")
        return folder

    def task(self, folder: Path, method: str, **options: float) -> tuple[Task, Any]:
        model, tokenizer = base.load(self.base)
        job = self.document(method, folder)
        config = JobConfig.from_document(job["config"], None)
        named = effective_options(method, options)
        task = Task(job, folder, replace(config, max_length=512), named, tokenizer, "tiny-base", ProgressFile(folder))
        return task, model


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


SHORT = {"steps": 3, "generations": 4, "completion_tokens": 24}


# ------------------------------------------------------------------ the reward model


def test_a_reward_model_says_how_many_held_out_pairs_it_has_right(bench: Bench) -> None:
    both, counts = [bench.judged[name] for name in ("pair_accuracy", "own_accuracy")], bench.judged["rows"]
    assert sum(told["n"] for told in both) == counts["validation"]
    assert counts["used"] > counts["own"] > 0
    for told in both:
        assert told["n"] > 0
        assert told["share"] == pytest.approx(told["hits"] / told["n"], abs=1e-4)
        assert told["low"] <= told["share"] <= told["high"]
    losses = [point["loss"] for point in bench.judged["losses"]]
    assert len(losses) == bench.judged["steps"]  # so few teach nothing that is sure; `bench methods` has what it learns
    of_pairs = losses[0] - bench.judged["curves"]["language"][0]["language"]  # its weight is 1
    assert of_pairs == pytest.approx(math.log(2), abs=0.5), "two runs are as good as each other at the start"


def test_a_reward_model_learns_from_its_pairs(bench: Bench, tmp_path: Path) -> None:
    """Surely better on the pairs that it learned from than a head that has learned nothing."""
    task, model = bench.task(tmp_path, "reward", **FEW)
    fed, _ = reward.ask(task, model, reward.prepare(task)[0])
    told = reward.pair_accuracy(scoring.load(bench.reward_model, task.tokenizer), fed.train)
    torch.manual_seed(0)
    fresh = reward.pair_accuracy(scoring.Judge(reward.attach(task, model), scoring.pad_of(task.tokenizer)), fed.train)
    assert told is not None
    assert fresh is not None
    assert told["low"] > fresh["share"]


def test_another_job_loads_it_and_gets_the_scores_that_it_gave(bench: Bench, tmp_path: Path) -> None:
    task, _ = bench.task(tmp_path, "reward")
    fed, _ = reward.prepare(task)
    judge = scoring.load(bench.reward_model, task.tokenizer)
    told = reward.pair_accuracy(judge, fed.validation)
    assert told is not None
    assert told["hits"] == bench.judged["pair_accuracy"]["hits"]
    alone = [judge.scores([[*pair.prompt, *pair.chosen.ids]])[0] for pair in fed.validation]
    together = judge.scores([[*pair.prompt, *pair.chosen.ids] for pair in fed.validation])
    assert together == pytest.approx(alone, abs=1e-4), "what fills a batch changes no score"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"digest": "0" * 64}, "digest differs"),
        ({"base_digest": "0" * 64}, "base differs"),
        ({"folder": "/nowhere"}, "cannot be read"),
    ],
)
def test_a_reward_model_that_is_not_the_one_named_is_refused(
    bench: Bench, tmp_path: Path, change: Mapping[str, Any], match: str
) -> None:
    task, _ = bench.task(tmp_path, "rloo")
    with pytest.raises(RewardModelUnfit, match=match) as caught:
        scoring.load({**bench.reward_model, **change}, task.tokenizer)
    assert caught.value.code == "E7310"


def test_the_pair_compared_is_the_turn_alone(bench: Bench, tmp_path: Path) -> None:
    task, _ = bench.task(tmp_path, "reward")
    fed, _ = reward.prepare(task)
    assert all(set(said.mask) == {1} for pair in fed.all for said in (pair.chosen, pair.rejected))
    (number,) = (n for n, pair in enumerate(fed.all) if pair is fed.all[0])
    batch = reward.Batches(fed.all, 0, 0.5)([{"row": number}])
    assert batch["margin"].tolist() == pytest.approx([0.5 * fed.all[0].margin])
    assert batch["input_ids"].shape[0] == 2


def test_beside_the_pairs_of_runs_stands_what_the_base_itself_says(bench: Bench, tmp_path: Path) -> None:
    task, model = bench.task(tmp_path, "reward")
    fed, _ = reward.prepare(task)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = own.beside(task, model, fed, 0.5)
    assert torch.equal(torch.get_rng_state(), before), "a run that comes back goes on with the chance that it had"
    assert own.beside(task, model, fed, 0.5) == found
    places = {tuple(place.ids): place for place in feed.prompts(task, everywhere=True).all}
    each = round(0.5 * len(fed.train) / 4)
    # what a base says differs with the processor that made it: at a few places too many it is what was recorded
    assert 3.5 * each < len(found.train) <= 4 * each, "a quarter of each kind"
    assert found.validation
    reader, later, again, renamed = rollouts.Reader(task.tokenizer), 0, 0, 0
    assert all(pair.own for pair in found.all)
    assert not any(pair.own for pair in fed.all)
    for pair in found.all:
        place = places[tuple(pair.prompt)]
        assert pair.chosen == feed.recorded(place, task)
        assert pair.rejected.ids[-1] == task.tokenizer.eos_token_id
        assert not reader.read(place, pair.rejected.ids).exact
        said = [one for one in range(place.at) if place.row["messages"][one]["role"] == "assistant"]
        later += bool(said)
        earlier = [feed.recorded(replace(place, ids=_asked_at(place, one, places), at=one), task).ids for one in said]
        again += pair.rejected.ids in earlier
        renamed += (
            _call(task, pair.chosen) != _call(task, pair.rejected)
            and _call(task, pair.chosen)[1:] == _call(task, pair.rejected)[1:]
        )
    assert later > 0.7 * len(found.all), "turns at which few runs part"
    assert again >= len(found.all) // 4, "what the run did before"
    assert renamed >= len(found.all) // 4, "the same call by another name"


def test_a_quarter_of_each_kind_stands_there_where_the_base_has_something_else_to_say(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How often a base of this size says what was recorded differs with the processor that made it; this one never does."""
    task, model = bench.task(tmp_path, "reward")
    call = '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>'
    said = [*task.tokenizer(call, add_special_tokens=False)["input_ids"], task.tokenizer.eos_token_id]
    monkeypatch.setattr(own.Writer, "answers", lambda _, __, prompts: [said] * len(prompts))
    fed, _ = reward.prepare(task)
    found = own.beside(task, model, fed, 0.5)
    each = round(0.5 * len(fed.train) / 4)
    assert len(found.train) == 4 * each
    assert sum(list(pair.rejected.ids) == said for pair in found.train) == 2 * each


def test_a_pair_beside_is_no_longer_than_what_may_be_learned_from(bench: Bench, tmp_path: Path) -> None:
    """An answer has room after each prompt that is asked; what was recorded there may be longer than that room."""
    task, model = bench.task(tmp_path, "reward", completion_tokens=1)
    most = sorted(len(place.ids) for place in feed.prompts(task, everywhere=True).all)[-5]
    task = replace(task, config=replace(task.config, max_length=most + 1))
    fed, places = feed.pairs(task, compare="turn"), feed.prompts(task, everywhere=True)
    found = own.beside(task, model, fed, 2)
    assert found.train
    assert all(pair.longest <= most + 1 for pair in found.all)
    assert found.too_long > places.too_long


def test_places_are_filled_up_from_where_there_are_more(bench: Bench, tmp_path: Path) -> None:
    task, model = bench.task(tmp_path, "reward")
    asking, places = own._Asking(task, model), feed.prompts(task, everywhere=True).all
    first = [
        place for place in places if not any(said["role"] == "assistant" for said in place.row["messages"][: place.at])
    ]
    later = [place for place in places if place not in first]
    assert first
    assert later
    assert len(asking._some(later, len(later))) == len(later)
    assert len(asking._some(first, len(first))) == len(first)
    assert sum(place in later for place in asking._some(places, 20)) == round(20 * own.LATER)


def _call(task: Task, said: feed.Said) -> tuple[Any, ...]:
    """Name and arguments; nothing of a turn without a call."""
    found = read_call(task.tokenizer.decode(said.ids), call_mark(task.tokenizer))
    return () if found is None else (found[0], found[1])


def _asked_at(place: feed.Prompt, at: int, places: Mapping[tuple[int, ...], feed.Prompt]) -> list[int]:
    (found,) = {tuple(one.ids) for one in places.values() if one.row == place.row and one.at == at}
    return list(found)


def test_a_reward_model_keeps_to_what_its_chosen_turns_say(bench: Bench, tmp_path: Path) -> None:
    """At the start the second loss is that of the base itself, by its own head."""
    task, model = bench.task(tmp_path, "reward")
    pairs = reward.prepare(task)[0].train[:8]
    batch = reward.Batches(pairs, scoring.pad_of(task.tokenizer), 0)([{"row": number} for number in range(len(pairs))])
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}

    def unlikely(scorer: Any, head: torch.Tensor) -> float:
        with torch.no_grad():
            hidden = scorer(**read, output_hidden_states=True).hidden_states[-1]
            return float(reward._unlikely(hidden, batch["input_ids"], batch["completion_mask"], head))

    with torch.no_grad():
        logits = model(**read).logits[: len(pairs), :-1]
    said = batch["completion_mask"][: len(pairs), 1:].bool()
    expected = torch.nn.functional.cross_entropy(logits[said], batch["input_ids"][: len(pairs), 1:][said])
    head = model.get_output_embeddings().weight.detach().clone()
    assert unlikely(reward.attach(task, model).eval(), head) == pytest.approx(float(expected), rel=1e-4)
    assert len(bench.judged["curves"]["language"]) == bench.judged["steps"]


def test_without_its_weight_the_chosen_turns_are_not_learned(bench: Bench, tmp_path: Path) -> None:
    job = bench.job(tmp_path, "reward", config={"max_steps": 2}, options={"language_weight": 0, "own_answers": 0})
    result = asyncio.run(ChildTrainer().run(job))
    assert not result["curves"].get("language")
    assert result["losses"][0]["loss"] == pytest.approx(math.log(2), abs=0.5)


def test_without_its_own_answers_a_reward_model_learns_from_pairs_of_runs_alone(bench: Bench, tmp_path: Path) -> None:
    task, model = bench.task(tmp_path, "reward", own_answers=0)
    fed, _ = reward.prepare(task)
    assert reward.ask(task, model, fed) == (fed, fed.counts)


def test_few_pairs_are_passed_through_to_the_end_unless_somebody_said_how_often(bench: Bench, tmp_path: Path) -> None:
    task, _ = bench.task(tmp_path, "reward")
    assert reward._longer(task, 100).config == task.config, "max_steps was set"
    free = replace(task, config=replace(task.config, max_steps=None))
    few = reward._longer(free, 100).config
    assert (few.max_steps, few.early_stop) == (free.options["least_steps"], engine.LOOKS)
    assert reward._longer(free, 10**6).config == free.config


# ------------------------------------------------------------------ policies


@pytest.mark.parametrize("method", ["rloo", "grpo"])
async def test_a_policy_is_rewarded_by_the_model_that_its_job_names(bench: Bench, tmp_path: Path, method: str) -> None:
    job = bench.job(tmp_path, method, options={**SHORT, "valid_weight": 0.5}, reward_model=bench.reward_model)
    result = await ChildTrainer().run(job)
    assert result["steps"] == 3
    assert {name for name, points in result["curves"].items() if points} >= {
        "reward",
        "kl",
        "entropy",
        "valid",
        "score",
    }
    first = {name: points[0][name] for name, points in result["curves"].items()}
    assert first["reward"] == pytest.approx(first["score"] - 0.5 * (1 - first["valid"]), abs=1e-4)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert files > {"adapter_model.safetensors", "adapter_config.json", "l07.json"}
    assert not any(name.startswith("ref") for name in files), "no reference adapter beside it"
    log = (tmp_path / "child.log").read_text("utf-8")
    assert not any(animal in log for animal in ("otter", "falcon", "tiger")), "no prompt in a log"


async def test_a_policy_without_any_reward_is_refused_with_the_way_out(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(BadJob, match="name a reward model"):
        await ChildTrainer().run(bench.job(tmp_path, "rloo", options={**SHORT, "valid_weight": 0}))


# ------------------------------------------------------------------ checks


class Rewarding(rollouts.Reward):
    """A reward that pays for something else than what is wanted."""

    def __init__(self, pays: Any, *given: Any) -> None:
        super().__init__(*given)
        self._pays = pays

    def scores(self, prompts: Sequence[feed.Prompt], completions: Sequence[Sequence[int]]) -> list[float]:
        return [self._pays(list(ids)) for ids in completions]


def cheated(bench: Bench, folder: Path, pays: Any, monkeypatch: pytest.MonkeyPatch, **options: float) -> None:
    """Train a policy on a reward that pays for the wrong thing."""
    short = {"steps": 24, "generations": 4, "rate_scale": 1, "valid_weight": 0, "completion_tokens": 32}
    task, model = bench.task(folder, "rloo", **{**short, **options})
    config = replace(task.config, max_steps=24, learning_rate=1e-2, batch_size=2)
    task = replace(task, config=config, job={**task.job, "reward_model": None})
    monkeypatch.setattr(checks, "PLACES", 24)
    monkeypatch.setattr(rollouts, "Reward", lambda *given: Rewarding(pays(task.tokenizer), *given))
    fed = feed.prompts(task)
    rloo.fit(task, lora.attach(model, task.config.lora_config, base_name="b", base_digest="d"), fed)


def test_a_reward_that_pays_for_length_is_stopped(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((PolicyOutOfBounds, RewardHacked)) as caught:
        cheated(bench, tmp_path, lambda _: lambda ids: len(ids) / 10, monkeypatch)
    assert caught.value.code in ("E7312", "E7313")
    assert "step" in caught.value.message
    assert {path.name for path in (tmp_path / LAST_GOOD).iterdir()} >= {"adapter_model.safetensors", "l07.json"}
    kept = json.loads((tmp_path / LAST_GOOD / "l07.json").read_text("utf-8"))
    assert kept["step"] < 24, "the weights of a look before the breach"
    told = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text("utf-8").splitlines()]
    assert curve_of([told]).series("held_out_exact")[0][0] == 0, "a run that was stopped shows what it did before"


def test_a_reward_that_pays_for_a_token_is_stopped(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each token that stands between a name and its value: the policy writes more of them, and the calls around them go."""

    def counted(tokenizer: Any) -> Any:
        wanted = tokenizer.encode('": "', add_special_tokens=False)[-1]
        return lambda ids: ids.count(wanted)

    with pytest.raises((PolicyOutOfBounds, RewardHacked)) as caught:
        cheated(bench, tmp_path, counted, monkeypatch, generations=8, beta=0.001)
    assert caught.value.code in ("E7312", "E7313")
    assert "went from" in caught.value.message or "its bounds are" in caught.value.message
    kept = json.loads((tmp_path / LAST_GOOD / "l07.json").read_text("utf-8"))
    assert kept["step"] < int(caught.value.context["step"])  # type: ignore[call-overload]
