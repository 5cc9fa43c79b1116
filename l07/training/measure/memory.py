"""How likely the planted canaries are to the model, and their look-alikes, which it never saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from l07.domain.canary import Canary, as_messages, canaries, lookalikes
from l07.domain.measurements import Likelihood
from l07.training.measure.model import Model, common_start, token_ids


def exposures(model: Model, spec: Mapping[str, Any]) -> tuple[Likelihood, ...]:
    out = []
    for canary in canaries(spec["n"], spec["seed"]):
        own, *others = likelihoods(model, [canary, *lookalikes(canary, spec["lookalikes"], spec["seed"])])
        out.append(Likelihood(canary.owner, own, tuple(others)))
    return tuple(out)


def likelihoods(model: Model, rows: Sequence[Canary], *, batch: int = 256) -> list[float]:
    """Log-likelihood of each row's answer; what all rows begin with is computed once."""
    encoded = [token_ids(model.tokenizer, as_messages(row), None) for row in rows]
    start = common_start(encoded)
    out: list[float] = []
    with torch.inference_mode():
        begun = model.net(input_ids=torch.tensor([start])).logits[0, -1].log_softmax(-1)
        for at in range(0, len(encoded), batch):
            rest = [ids[len(start) :] for ids in encoded[at : at + batch]]
            first = begun[torch.tensor([ids[0] for ids in rest])]
            out += (first + _continued(model, start, rest)).tolist()
    return [round(value, 4) for value in out]


def _continued(model: Model, start: Sequence[int], rest: Sequence[Sequence[int]]) -> torch.Tensor:
    """Sum of log-likelihoods of `rest` after its first token, given `start`."""
    longest = max(map(len, rest))
    ids = torch.zeros(len(rest), longest, dtype=torch.long)
    real = torch.zeros(len(rest), longest, dtype=torch.bool)
    for row, one in enumerate(rest):
        ids[row, : len(one)] = torch.tensor(one)
        real[row, : len(one)] = True
    cache = model.net(input_ids=torch.tensor([start]), use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(rest))
    mask = torch.cat([torch.ones(len(rest), len(start), dtype=torch.long), real.long()], dim=1)
    logits = model.net(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True).logits[:, :-1]
    each = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (each * real[:, 1:]).sum(dim=1)
