"""Adapters: which weights of a base may move, how they are kept, and how they become part of the base again.

Source: Hu et al., "LoRA" (2021), section 4. Departures: all linear layers, not only attention; and embeddings trained whole
where the base asks for it, because low rank alone cannot teach a vocabulary of a thousand tokens its new words. Kinds: Liu et
al., "DoRA" (2024), section 4; Kalajdzievski, "rsLoRA" (2023), section 3; Dettmers et al., "QLoRA" (2023), section 3.
"""

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training

from l07.domain.job import LoRAConfig
from l07.training.files import file_digests, weights_digest, write_json


def attach(model: Any, config: LoRAConfig, *, base_name: str, base_digest: str, head: str = "") -> Any:
    """`model` with an adapter that starts as no change at all. `head`: of a scoring model, what is trained whole."""
    tied = bool(model.config.tie_word_embeddings)
    whole = ["embed_tokens"] if tied or head else ["embed_tokens", "lm_head"]
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_dora=config.kind == "dora",
        use_rslora=config.kind == "rslora",
        target_modules="all-linear",
        modules_to_save=[*(whole if config.embeddings else ()), *([head] if head else ())] or None,
        ensure_weight_tying=tied and config.embeddings and not head,
        task_type="SEQ_CLS" if head else "CAUSAL_LM",
    )
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    adapted = get_peft_model(model, lora)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # of a base in half precision, embeddings that are trained whole
    # a local path would differ from machine to machine and say nothing elsewhere; the digest finds the base anywhere
    settings = adapted.peft_config["default"]
    settings.base_model_name_or_path, settings.revision = base_name, base_digest
    return adapted


def save(model: Any, folder: Path, about: dict[str, Any]) -> tuple[dict[str, str], str]:
    """What was trained and l07.json into `folder`; digests of the files, and one of the weights.

    Of an adapter its weights and settings; a model without one is saved whole: with the tokenizer a base of its own."""
    model.save_pretrained(str(folder), safe_serialization=True)
    if isinstance(model, PeftModel):
        _tidy(folder)
    write_json(folder / "l07.json", about)
    files = file_digests(folder)
    return files, weights_digest(files)


def _tidy(folder: Path) -> None:
    """The same bytes each time."""
    (folder / "README.md").unlink(missing_ok=True)  # peft's card is a form that nobody filled in
    settings = folder / "adapter_config.json"
    write_json(
        settings,
        {
            name: sorted(value) if isinstance(value, list) else value
            for name, value in json.loads(settings.read_text("utf-8")).items()
        },
    )


def merged(model: Any) -> Any:
    """The base with the adapter's change added to its own weights."""
    assert isinstance(model, PeftModel)
    return model.merge_and_unload()
