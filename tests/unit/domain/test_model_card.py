"""The card of a model: what was measured stands in it, what was not says so, and nothing from outside becomes markup."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from l07.domain.model_card import ADAPTER, FULL, Facts, card, limits

LINEAGE = {
    "job_id": "job-1", "track": "default", "dataset_version": "1.2.0", "dataset_digest": "d" * 8, "base_digest": "b" * 8, "method": "dpo",
    "options": {"beta": 0.1}, "config": {"learning_rate": 0.001, "lora": {"rank": 4}}, "seed": 7, "threads": 2,
    "versions": {"torch": "2.13.0"}, "cost": {"spent_s": 12.5, "tokens": 900, "cost": 0.02, "currency": "EUR"},
}  # fmt: skip
MEASURED = {
    "rows": {"used": 120, "too_long": 3, "canaries": 2}, "losses": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.25}],
    "eval_losses": [], "train_loss": 1.5, "steps": 2, "peak_rss_bytes": 1000,
}  # fmt: skip
STAGE = {
    "stage": "benchmark",
    "result": "INCONCLUSIVE",
    "n": 40,
    "estimate": 0.031,
    "interval": [-0.01, 0.07],
    "needed_n": 300,
}
VALIDATED = {
    "verdict": "REVIEW",
    "baseline": "the base model",
    "stages": [STAGE],
    "report": "reports/default/1.0.0",
    "reasons": [],
}


def facts(**changes: Any) -> Facts:
    return replace(Facts("default", "1.0.0", "tiny-base", LINEAGE, MEASURED), **changes)


def head(text: str) -> list[str]:
    return text.split("---\n")[1].splitlines()


def field(text: str, name: str) -> str:
    found = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", text, flags=re.M)
    assert found, name
    return found[1]


def test_the_head_names_base_library_and_dataset() -> None:
    lines = head(card(facts()))
    assert 'base_model: "tiny-base"' in lines
    assert "library_name: peft" in lines
    assert lines[lines.index("datasets:") + 1] == '- "default:1.2.0"'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("digest", "dddddddd"), ("rows: used", "120"), ("method", "dpo"), ("option beta", "0.1"), ("adapter: rank", "4"), ("seed", "7"),
        ("tokens", "900"), ("cost", "0.02 EUR"), ("seconds, all attempts", "12.5"), ("steps", "2"), ("loss", "2.0 | 1.25 | 1.25 | 2"),
    ],
)  # fmt: skip
def test_what_was_measured_stands_in_it(name: str, value: str) -> None:
    assert field(card(facts()), name) == value


@pytest.mark.parametrize("kind", [ADAPTER, FULL])
def test_a_reward_model_is_no_text_generator(kind: str) -> None:
    scorer = card(facts(lineage={**LINEAGE, "method": "reward"}, format=kind, validated=VALIDATED))
    assert "pipeline_tag: text-classification" in head(scorer)
    assert '"task": {"type": "text-classification"}' in scorer
    assert "AutoModelForSequenceClassification" in scorer
    assert "num_labels=1" in scorer
    assert "CausalLM" not in scorer


def test_any_other_model_generates_text() -> None:
    agent = card(facts(validated=VALIDATED))
    assert "pipeline_tag: text-generation" in head(agent)
    assert '"task": {"type": "text-generation"}' in agent
    assert "AutoModelForCausalLM" in agent
    assert "SequenceClassification" not in agent


def test_what_was_not_measured_says_so() -> None:
    bare = card(Facts("default", "1.0.0", "tiny-base", {}))
    assert field(bare, "energy, joules") == "not measured"
    assert field(bare, "seed") == "not measured"
    assert "price_per_hour" in field(bare, "cost")
    assert "The losses were not measured" in bare


def test_before_the_verdict_there_is_no_index_and_no_figure_of_quality() -> None:
    text = card(facts())
    assert "model-index" not in text
    assert "Not measured when this card was written" in text


def test_the_verdict_stands_in_a_later_card_with_its_intervals() -> None:
    text = card(facts(validated=VALIDATED, stage="STAGING"))
    assert "| benchmark | INCONCLUSIVE | 40 | 0.031 | -0.01 to 0.07 |" in text
    (line,) = [line for line in head(text) if line.startswith("model-index: ")]
    (model,) = json.loads(line.partition(": ")[2])
    assert model["results"][0]["metrics"][0]["value"] == 0.031


def test_a_stage_without_an_estimate_gives_no_metric() -> None:
    told = {**VALIDATED, "stages": [{"stage": "security", "result": "PASS", "n": 3, "estimate": None}]}
    assert "model-index" not in card(facts(validated=told))


def test_few_rows_canaries_and_what_is_inconclusive_are_limits() -> None:
    told = "\n".join(limits(facts(validated=VALIDATED)))
    for part in (
        "120 rows only",
        "3 rows were longer",
        "2 generated canaries",
        "Inconclusive: benchmark, n 40; 300 would",
    ):
        assert part in told
    many = facts(measured={"rows": {"used": 500}})
    assert not any("rows only" in text for text in limits(many))


def test_only_pictures_that_are_there_are_shown() -> None:
    assert "![Loss](plots/loss.svg)" in card(facts(), ["loss.svg", "other.svg"])
    assert "plots/" not in card(facts())


def test_what_comes_from_outside_becomes_no_markup() -> None:
    text = card(facts(lineage={**LINEAGE, "dataset_digest": "x | [a](http://b)\n# c"}, base_model='a"\nlicense: mit'))
    assert "\n# c" not in text
    assert "[a](" not in text
    assert [line for line in head(text) if line.startswith("license")] == ["license: unknown"]
