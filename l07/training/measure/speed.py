"""Seconds a token: candidate and baseline by turns, so that whatever else the machine does hits both."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from l07.domain.measurements import Pair
from l07.training.measure.model import Model
from l07.training.measure.questions import Question


def race(candidate: Model, baseline: Model, questions: Sequence[Question], spec: Mapping[str, Any]) -> tuple[Pair, ...]:
    """Seconds of each new token, a fixed number after fixed prompts; the two take turns at every token."""
    room = spec["new_tokens"] + 1
    ready = [
        q for q in questions if len(q.prompt(candidate.tokenizer)) + room < min(candidate.context, baseline.context)
    ]
    if not ready:
        return ()
    chosen = [ready[number * len(ready) // spec["pairs"] % len(ready)] for number in range(spec["pairs"])]
    with torch.inference_mode():
        _turns(candidate, baseline, chosen[0], spec["new_tokens"])  # a warm-up that nobody counts
        return tuple(_turns(candidate, baseline, question, spec["new_tokens"]) for question in chosen)


def _turns(candidate: Model, baseline: Model, question: Question, new_tokens: int) -> Pair:
    models = (candidate, baseline)
    state = []
    for model in models:
        begun = model.net(input_ids=torch.tensor([question.prompt(model.tokenizer)]), use_cache=True)
        state.append((begun.logits[:, -1:].argmax(-1), begun.past_key_values))
    seconds: tuple[list[float], list[float]] = ([], [])
    for step in range(new_tokens):
        for side in (0, 1) if step % 2 == 0 else (1, 0):
            begun_s = time.perf_counter()
            token, cache = state[side]
            done = models[side].net(input_ids=token, past_key_values=cache, use_cache=True)
            state[side] = (done.logits[:, -1:].argmax(-1), done.past_key_values)
            seconds[side].append(round(time.perf_counter() - begun_s, 7))
    return Pair(tuple(seconds[0]), tuple(seconds[1]))
