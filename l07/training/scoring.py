"""A reward model as it is asked: one score for a prompt and what was written after it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification

from l07.errors import RewardModelUnfit
from l07.training.files import file_digests, weights_digest

HEAD = "score"  # the linear layer, by the name that transformers gives it
BATCH = 64


class Judge:
    """Scores token ids: more is better, and 0 about the middle of what it learned from."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._pad = model, pad

    def scores(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """In the order given. A sequence ends with the last token of the turn to be judged."""
        order = sorted(range(len(sequences)), key=lambda at: len(sequences[at]))
        found: dict[int, float] = {}
        was_training = self._model.training
        self._model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                for at, score in zip(part, self._batch([sequences[at] for at in part]), strict=True):
                    found[at] = score
        self._model.train(was_training)
        return [found[at] for at in range(len(sequences))]

    def _batch(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        longest = max(map(len, sequences))
        ids = torch.full((len(sequences), longest), self._pad, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, one in enumerate(sequences):
            ids[row, : len(one)] = torch.tensor(one, dtype=torch.long)
            attention[row, : len(one)] = 1
        logits = self._model(input_ids=ids, attention_mask=attention, use_cache=False).logits
        return [float(value) for value in logits[:, 0]]


def pad_of(tokenizer: Any) -> int:
    """The token that fills a batch; of a tokenizer without one, its end of a turn."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def with_head(base: str | Path, tokenizer: Any) -> Any:
    """The base with a scoring head whose weights follow from the seed that was set last."""
    model = AutoModelForSequenceClassification.from_pretrained(
        str(base), num_labels=1, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    model.config.get_text_config().pad_token_id = pad_of(tokenizer)
    return model


def load(spec: Mapping[str, Any], tokenizer: Any) -> Judge:
    """The reward model that a job names: `folder`, `digest` of its weights, the folder and digest of its base.

    Raises:
        RewardModelUnfit: E7310, it is not there, is no reward model, or differs from what the job names."""
    folder, base = Path(str(spec["folder"])), Path(str(spec["base"]))
    about = _about(folder)
    found = weights_digest(file_digests(folder))
    told = {"digest": (found, spec["digest"]), "base": (about.get("base_digest"), spec["base_digest"])}
    wrong = [name for name, (one, other) in told.items() if one != other]
    if about.get("method") != "reward" or wrong:
        raise RewardModelUnfit(
            f"{folder} was made by {about.get('method')}; {', '.join(wrong) or 'nothing'} differs from what the job names"
        )
    try:
        adapted = PeftModel.from_pretrained(with_head(base, tokenizer), str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise RewardModelUnfit(f"the reward model {folder} cannot be loaded: {type(err).__name__}") from err
    return Judge(adapted.merge_and_unload(), pad_of(tokenizer))


def _about(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "l07.json").read_text("utf-8")))
    except (OSError, ValueError) as err:
        raise RewardModelUnfit(f"the reward model {folder} cannot be read: {type(err).__name__}") from err
