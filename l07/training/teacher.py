"""The model that another one learns to be like: the base and adapter that a job made, and what they write and expect."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from l07.errors import TeacherUnfit
from l07.training import base
from l07.training.files import file_digests, weights_digest

BATCH = 64
ADAPTER, WHOLE = "CAUSAL_LM", "whole"


def load(spec: Mapping[str, Any], tokenizer: Any) -> Any:
    """The teacher that a job names: `folder` and `digest` of its weights as `lora.save` left them, folder and digest of its
    base. Its weights do not move.

    Raises:
        TeacherUnfit: E7737, it is not there, differs from what the job names, is no language model, or has other tokens
        than the student. BaseDiffers: E7724, BaseIncomplete: E7723, of its base."""
    folder = Path(str(spec["folder"]))
    kind, files = _kind(folder), file_digests(folder)
    weights = weights_digest(files)
    if kind not in (ADAPTER, WHOLE) or weights != spec["digest"]:
        raise TeacherUnfit(f"the teacher {folder} is of kind {kind}, or its weights are not those that the job names")
    base.check_base(Path(str(spec["base"])), str(spec["base_digest"]))
    model, own = base.load(folder if kind == WHOLE else Path(str(spec["base"])))
    if own.get_vocab() != tokenizer.get_vocab() or own.chat_template != tokenizer.chat_template:
        raise TeacherUnfit(f"the teacher {folder} has another vocabulary or chat template than the base to be taught")
    if kind == ADAPTER:
        model = _adapted(model, folder)
    return model.eval().requires_grad_(False)


def _adapted(model: Any, folder: Path) -> Any:
    try:
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise TeacherUnfit(f"the teacher {folder} cannot be loaded: {type(err).__name__}") from err


def _kind(folder: Path) -> str:
    """What the adapter is for; WHOLE: there is none, but a model."""
    if not (folder / "adapter_config.json").exists() and (folder / "config.json").is_file():
        return WHOLE
    try:
        return str(json.loads((folder / "adapter_config.json").read_text("utf-8")).get("task_type"))
    except (OSError, ValueError, AttributeError) as err:
        raise TeacherUnfit(f"the teacher {folder} cannot be read: {type(err).__name__}") from err


@dataclass(frozen=True, slots=True)
class Writer:
    """How answers are written: by chance at this temperature, 0: always the likeliest token; to the end of a turn, which
    is part of the answer, or as long as `most` tokens; to so many prompts `at_once`."""

    tokenizer: Any
    most: int
    temperature: float
    at_once: int = BATCH

    def answers(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """One to each prompt, in the order given. Draws from torch's generator where the temperature is not 0."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        found: dict[int, list[int]] = {}
        for start in range(0, len(order), self.at_once):
            part = order[start : start + self.at_once]
            found.update(zip(part, self._batch(model, [prompts[at] for at in part]), strict=True))
        return [found[at] for at in range(len(prompts))]

    def _batch(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        longest, end = max(map(len, prompts)), int(self.tokenizer.eos_token_id)
        device = next(model.parameters()).device
        ids = torch.full((len(prompts), longest), end, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):  # filled before the prompt, so that an answer follows at once
            ids[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
            attention[row, longest - len(prompt) :] = 1
        drawn = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        was_training = model.training
        model.eval()
        with torch.no_grad():
            written = model.generate(
                input_ids=ids.to(device), attention_mask=attention.to(device), max_new_tokens=self.most, use_cache=True,
                eos_token_id=end, pad_token_id=end, **(drawn if self.temperature else {"do_sample": False}),
            )  # fmt: skip
        model.train(was_training)
        return [_ended(row, end) for row in written[:, longest:].tolist()]


def _ended(ids: Sequence[int], end: int) -> list[int]:
    """Up to the first end, with it."""
    return [*ids[: ids.index(end)], end] if end in ids else list(ids)
