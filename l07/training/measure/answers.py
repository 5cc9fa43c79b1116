"""What a model answers, and how it is read: greedy, in batches, judged by the first tool call in the text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from l07.domain.measurements import Answer
from l07.training.measure.model import Model
from l07.training.measure.questions import Question
from l07.training.progress import ProgressFile

BATCH = 64  # answers that are decoded side by side
ANSWER_TOKENS = 256  # at most; an answer that is not finished by then is read as it stands


def answers_of(model: Model, questions: Sequence[Question], progress: ProgressFile) -> list[Answer]:
    """In the order of the questions; batches are made of prompts of like length."""
    prompts = [question.prompt(model.tokenizer) for question in questions]
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    out: dict[int, Answer] = {}
    for at in range(0, len(order), BATCH):
        batch = order[at : at + BATCH]
        for index, ids in zip(batch, _generate(model, [prompts[index] for index in batch]), strict=True):
            out[index] = _judge(questions[index], model.tokenizer.decode(ids), len(ids), model.mark)
        progress.step(answered=len(out), of=len(order))
    return [out[index] for index in range(len(questions))]


def _generate(model: Model, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """What the model writes after each prompt, without the end mark."""
    room = min(ANSWER_TOKENS, model.context - max(map(len, prompts)))
    end = model.tokenizer.eos_token_id
    return [ids[:-1] if ids and ids[-1] == end else ids for ids in generate(model, prompts, room)]


def generate(model: Model, prompts: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """What the model writes after each prompt, at most `room` tokens: greedy, up to the end mark, which is part of it. Of
    a model that wrote no end mark, all of them."""
    padded = model.tokenizer.pad({"input_ids": [list(prompt) for prompt in prompts]}, return_tensors="pt")
    width = padded["input_ids"].shape[1]
    end = model.tokenizer.eos_token_id
    with torch.inference_mode():
        written = model.net.generate(
        input_ids=padded["input_ids"], attention_mask=padded["attention_mask"], do_sample=False,
        max_new_tokens=room, pad_token_id=model.tokenizer.pad_token_id, eos_token_id=end,
    )  # fmt: skip
    return [ids[: ids.index(end) + 1] if end in ids else ids for ids in written[:, width:].tolist()]


def _judge(question: Question, text: str, tokens: int, mark: str) -> Answer:
    call = read_call(text, mark)
    if call is None:
        return Answer(text, None, False, False, tokens)
    name, arguments = call
    exact = name == question.name and json_equal(arguments, question.arguments)
    return Answer(text, name, name in question.source.tools, exact, tokens)


def read_call(text: str, mark: str) -> tuple[str, Mapping[str, Any]] | None:
    """Name and arguments of the first call in what a model wrote; `mark` is what stands before the call's JSON."""
    _, found, after = text.partition(mark) if mark else ("", "{", text)
    try:
        call, _ = _DECODER.raw_decode(after.lstrip()) if found else (None, 0)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters"))
    return (call["name"], arguments) if isinstance(arguments, dict) else None


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def json_equal(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, 1 is 1.0, the order of names does not count."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(json_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
