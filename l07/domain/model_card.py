"""The card of a model version: README.md with the YAML head of the Hugging Face hub. It says what was measured, and of
what was not that it was not.

It is written at the registration, and sealed with the files; an export writes it once more, with what was judged since.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l07.domain.markdown import cell, table
from l07.domain.methods import METHODS

FEW_ROWS = 500  # what a dataset must have before it queues a training by itself
NOT_MEASURED = "not measured"
UNKNOWN = "unknown"
ADAPTER, FULL, MERGED = "peft-lora", "full", "merged"
_KINDS: Mapping[str, str] = {
    ADAPTER: "LoRA adapter for",
    FULL: "whole weights, trained from",
    MERGED: "whole weights, an adapter merged into",
}
PICTURES: Mapping[str, str] = {
    "loss.svg": "Loss",
    "grad_norm.svg": "Norm of the gradient before clipping",
    "learning_rate.svg": "Learning rate",
}
_LIMITS = (
    "Whether it is right on anything but tasks like those of its dataset was not measured.",
    "Bias, toxicity and abilities that the base had and the dataset does not ask for were not measured.",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card is made of; nothing else stands in it."""

    model: str
    version: str
    base_model: str
    lineage: Mapping[str, Any]
    measured: Mapping[str, Any] = field(default_factory=dict)  # data of `training.completed`
    validated: Mapping[str, Any] | None = None  # data of `model.validated` on exactly these files; None: none yet
    stage: str | None = None
    digest: str | None = None  # of the sealed files
    format: str = ADAPTER


def card(facts: Facts, pictures: Iterable[str] = ()) -> str:
    """`pictures`: names of files in `plots/`."""
    shown = [name for name in PICTURES if name in set(pictures)]
    parts = [
        _what(facts),
        f"## How to load it\n\n{_load(facts)}",
        f"## What it learned from\n\n{_data(facts)}",
        f"## How it was trained\n\n{_training(facts)}",
        f"## What the training cost\n\n{_cost(facts)}",
        f"## Curve\n\n{_curve(facts, shown)}",
        f"## Evaluation\n\n{_evaluation(facts)}",
        "## Known limits\n\n" + "\n".join(f"- {cell(text)}" for text in limits(facts)),
    ]
    return _head(facts) + "\n\n".join(parts) + "\n"


def limits(facts: Facts) -> list[str]:
    """What its reader must not expect."""
    found = []
    rows = facts.measured.get("rows") or {}
    used = rows.get("used")
    if used is not None and used < FEW_ROWS:
        found.append(f"It learned from {used} rows only.")
    if rows.get("too_long"):
        found.append(f"{rows['too_long']} rows were longer than the context, and were left out.")
    if rows.get("canaries"):
        found.append(f"{rows['canaries']} generated canaries were among its rows, to measure what it memorises.")
    for change in facts.lineage.get("changes") or ():
        found.append(f"An attempt failed, and was tried again otherwise: {json.dumps(change, sort_keys=True)}.")
    for stage in _stages(facts):
        if stage.get("result") == "INCONCLUSIVE":
            more = f"; {stage['needed_n']} would be needed" if stage.get("needed_n") else ""
            found.append(f"Inconclusive: {stage['stage']}, n {stage.get('n')}{more}.")
    return [*found, *_LIMITS]


# ------------------------------------------------------------------ head


def _head(facts: Facts) -> str:
    lineage = facts.lineage
    method = str(lineage.get("method") or "sft")
    lines = [
        f"base_model: {json.dumps(facts.base_model)}",
        f"library_name: {'peft' if facts.format == ADAPTER else 'transformers'}",
        *_license_of_head(facts),
        f"pipeline_tag: {_task(facts)}",
        f"model_name: {json.dumps(f'{facts.model}-{facts.version}')}",
        *_list("tags", [*(["base_model:adapter"] if facts.format == ADAPTER else []), method, "l07"]),
        *_list("datasets", [_dataset(facts)]),
        *_index(facts),
    ]
    return "---\n" + "\n".join(lines) + "\n---\n"


def _scores(facts: Facts) -> bool:
    spec = METHODS.get(str(facts.lineage.get("method") or "sft"))
    return spec is not None and spec.makes == "scorer"


def _task(facts: Facts) -> str:
    """The hub's name of what the model does; a reward model is one class whose logit is the score."""
    return "text-classification" if _scores(facts) else "text-generation"


def _license_of_head(facts: Facts) -> list[str]:
    """A model that was tuned is under its base's licence. The hub knows short names alone; anything else is "other" with a name."""
    said = str(facts.lineage.get("base_license") or UNKNOWN)
    if said == UNKNOWN:
        return [f"license: {UNKNOWN}"]
    if re.fullmatch(r"[a-z0-9.+-]+", said):
        return [f"license: {said}"]
    name = said.removeprefix("other (").removesuffix(")")
    return ["license: other", f"license_name: {json.dumps(name)}"]


def _list(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}:", *(f"- {json.dumps(value)}" for value in values)]


def _index(facts: Facts) -> list[str]:
    """The `model-index` of the hub: only what was measured, so none before there is a verdict."""
    metrics = [stage for stage in _stages(facts) if stage.get("estimate") is not None]
    if not metrics:
        return []
    results = [
        {
            "task": {"type": _task(facts)},
            "dataset": {"name": _dataset(facts), "type": _dataset(facts), "split": "test"},
            "metrics": [
                {"name": f"{stage['stage']}, estimate", "type": str(stage["stage"]), "value": stage["estimate"]}
                for stage in metrics
            ],
        }
    ]
    named = [{"name": f"{facts.model}-{facts.version}", "results": results}]
    return [f"model-index: {json.dumps(named)}"]  # JSON is YAML


# ------------------------------------------------------------------ sections


def _what(facts: Facts) -> str:
    rows = [
        ("kind", f"{_KINDS.get(facts.format, _KINDS[FULL])} {facts.base_model}"),
        ("digest of the base", facts.lineage.get("base_digest")),
        *([("commit of the base", facts.lineage["base_revision"])] if "base_revision" in facts.lineage else []),
        ("licence of the base", _licence(facts)),
        ("chat template, sha256", facts.lineage.get("chat_template") or "none"),
        ("digest of the sealed files", facts.digest),
        ("stage", facts.stage),
        ("verdict", (facts.validated or {}).get("verdict") or "none yet"),
    ]
    return f"# {facts.model} {facts.version}\n\n{_fields(rows)}"


def _licence(facts: Facts) -> str:
    said = str(facts.lineage.get("base_license") or UNKNOWN)
    if said == UNKNOWN:
        return f"{UNKNOWN}: its files name none; find out before you pass the model on"
    return f"{said}, as its {facts.lineage.get('base_license_from')} says"


def _load(facts: Facts) -> str:
    kind = "AutoModelForSequenceClassification" if _scores(facts) else "AutoModelForCausalLM"
    more = ", num_labels=1" if _scores(facts) else ""
    if facts.format != ADAPTER:
        code = f'model = {kind}.from_pretrained("path/to/this/folder"{more})'
        return f"```python\nfrom transformers import {kind}\n\n{code}\n```"
    return (
        f"```python\nfrom peft import PeftModel\nfrom transformers import {kind}, AutoTokenizer\n\n"
        f'base = {kind}.from_pretrained("path/to/the/base"{more})\n'
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n```\n\n'
        "Tokenizer and chat template lie beside the weights. For a gateway: `l07 models export`."
    )


def _data(facts: Facts) -> str:
    lineage, rows = facts.lineage, facts.measured.get("rows") or {}
    return _fields(
        [
            ("dataset", _dataset(facts)),
            ("digest", lineage.get("dataset_digest")),
            *((f"rows: {name}", count) for name, count in sorted(rows.items())),
        ]
    )


def _training(facts: Facts) -> str:
    lineage = facts.lineage
    config = dict(lineage.get("config") or {})
    lora = config.pop("lora", None) or {}
    if facts.format == FULL:
        lora = {}
    measured = facts.measured
    return _fields(
        [
            ("job", lineage.get("job_id")),
            ("method", lineage.get("method") or "sft"),
            *((f"option {name}", value) for name, value in sorted((lineage.get("options") or {}).items())),
            *((name, value) for name, value in sorted(config.items()) if value is not None),
            *((f"adapter: {name}", value) for name, value in sorted(lora.items())),
            ("seed", lineage.get("seed")),
            ("threads", lineage.get("threads")),
            *((f"hardware: {name}", value) for name, value in sorted((lineage.get("hardware") or {}).items())),
            *([("processes", lineage["ranks"])] if "ranks" in lineage else []),
            ("steps", measured.get("steps")),
            ("mean loss over the run", measured.get("train_loss")),
            ("libraries", _pairs(lineage.get("versions") or {})),
        ]
    )


def _cost(facts: Facts) -> str:
    spent = facts.lineage.get("cost") or {}
    money = f"{spent['cost']} {spent.get('currency', '')}".strip() if spent.get("cost") is not None else None
    return _fields(
        [
            ("seconds, all attempts", spent.get("spent_s")),
            ("tokens", spent.get("tokens")),
            ("energy, joules", spent.get("energy_j")),
            ("cost", money or "not known: `training.price_per_hour` is not set"),
            ("peak memory of the process, bytes", facts.measured.get("peak_rss_bytes")),
        ]
    )


def _curve(facts: Facts, shown: Sequence[str]) -> str:
    pictures = [f"![{PICTURES[name]}](plots/{name})" for name in shown]
    ends = [(name, *_ends(facts.measured.get(key) or ())) for key, name in _CURVES.items()]
    rows = [(name, *row) for name, *row in ends if row]
    if not rows and not pictures:
        return f"The losses were {NOT_MEASURED}."
    return "\n\n".join([*pictures, *([table(("", "first", "last", "lowest", "points"), rows)] if rows else [])])


_CURVES: Mapping[str, str] = {"losses": "loss", "eval_losses": "loss on the validation split"}


def _ends(points: Sequence[Mapping[str, Any]]) -> tuple[object, ...]:
    values = [point.get("loss", point.get("eval_loss")) for point in points]
    known = [value for value in values if value is not None]
    return (known[0], known[-1], min(known), len(known)) if known else ()


def _evaluation(facts: Facts) -> str:
    if facts.validated is None:
        return (
            f"{NOT_MEASURED.capitalize()} when this card was written. `l07 models show {facts.model}:{facts.version}` has the verdict"
            " once there is one, and `l07 models export` writes it into the card."
        )
    told = facts.validated
    rows = [
        (stage["stage"], stage.get("result"), stage.get("n"), _number(stage.get("estimate")), _interval(stage))
        for stage in _stages(facts)
    ]
    reasons = "".join(f"\n- {cell(reason)}" for reason in told.get("reasons") or ())
    return (
        f"Verdict {told['verdict']}, against {cell(told.get('baseline') or 'nothing')}, on held-out rows."
        f" Report: `{told.get('report')}`, sha256 `{told.get('report_digest')}`.\n\n"
        + table(("stage", "result", "n", "estimate", "95 % interval"), rows)
        + (f"\n{reasons}" if reasons else "")
    )


# ------------------------------------------------------------------ parts


def _stages(facts: Facts) -> Sequence[Mapping[str, Any]]:
    return (facts.validated or {}).get("stages") or ()


def _dataset(facts: Facts) -> str:
    return f"{facts.lineage.get('track') or facts.model}:{facts.lineage.get('dataset_version') or 'unknown'}"


def _interval(stage: Mapping[str, Any]) -> str:
    found = stage.get("interval")
    return f"{_number(found[0])} to {_number(found[1])}" if found else NOT_MEASURED


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.4g}"


def _pairs(values: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items())) or None


def _fields(rows: Iterable[tuple[str, Any]]) -> str:
    return table(("", ""), [(name, NOT_MEASURED if value is None else value) for name, value in rows])
