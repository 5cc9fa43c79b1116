"""A model as it would be served: the base with its adapter merged in, its tokenizer, and how much it can read."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from l07.errors import BaseDiffers
from l07.training.base import check_trained_on


@dataclass(frozen=True, slots=True)
class Model:
    net: Any
    tokenizer: PreTrainedTokenizerBase
    context: int  # tokens
    mark: str  # what its template writes before a tool call


def load(spec: Mapping[str, Any]) -> Model:
    """The base, with its adapter merged in: what is measured is what would be served."""
    net = _net(Path(spec["base"]), Path(spec["adapter"]) if spec["adapter"] else None)
    net.eval()
    tokenizer = left_padded(AutoTokenizer.from_pretrained(spec["base"], local_files_only=True))
    return Model(net, tokenizer, int(net.config.max_position_embeddings), call_mark(tokenizer))


def _net(base: Path, trained: Path | None) -> Any:
    """`trained`: an adapter of the base, or a whole model in its place.

    Raises:
        BaseDiffers: E7724, the adapter is for another base."""
    whole = trained is not None and not (trained / "adapter_config.json").is_file()
    net = AutoModelForCausalLM.from_pretrained(
        str(trained if whole else base), dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    if trained is None or whole:
        return net
    check_trained_on(trained, base)
    try:
        return PeftModel.from_pretrained(net, str(trained)).merge_and_unload()
    except (ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise BaseDiffers(f"the adapter {trained} does not load upon the base {base}: {type(err).__name__}") from err


def left_padded(tokenizer: Any) -> Any:
    """The same tokenizer, for batches that are written on: filled before the prompt, so that an answer follows at once."""
    own = copy(tokenizer)
    own.padding_side = "left"
    if own.pad_token_id is None:
        own.pad_token = own.eos_token
    return own


_ASK = {"role": "user", "content": "ask"}
_CALL = {"id": "c1", "type": "function", "function": {"name": "callword", "arguments": {"key": "value"}}}


def call_mark(tokenizer: Any) -> str:
    """What this template puts between the start of an answer and the JSON of a tool call, such as `<tool_call>`."""
    said = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    before = tokenizer.apply_chat_template([_ASK], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([_ASK, said], tokenize=False)
    answer = whole[len(before) :] if whole.startswith(before) else ""
    mark, found, _ = answer.partition('{"name": "callword"')
    return mark.strip() if found else ""


def token_ids(tokenizer: Any, messages: Sequence[Any], tools: Any, **options: Any) -> list[int]:
    encoded = tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=True, **options)
    return list(encoded["input_ids"])


def common_start(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning."""
    first = min(sequences, key=len)
    for at, token in enumerate(first):
        if any(other[at] != token for other in sequences):
            return list(first[:at])
    return list(first)
