"""The generators that training draws from, as tensors and plain numbers: Python, NumPy, torch on CPU and on each GPU."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from l07.training import ranks

State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def capture(loader: Any = None) -> State:
    """As they stand now; with those that `loader`'s samplers have for themselves."""
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors.update({f"cuda.{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())})
    tensors.update({f"loader.{n}": one.get_state() for n, one in enumerate(_of_loader(loader))})
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # this is what libraries draw from
    return tensors, {
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
    }


def of_ranks() -> dict[str, torch.Tensor]:
    """Where several processes train together: what each draws its dropout from, which is all in which they differ."""
    if ranks.count() == 1:
        return {}
    found = {f"rank.{n}/cpu": one for n, one in enumerate(ranks.each(torch.get_rng_state()))}
    if torch.cuda.is_available():
        found.update({f"rank.{n}/cuda": one for n, one in enumerate(ranks.each(torch.cuda.get_rng_state()))})
    return found


def restore_rank(tensors: Mapping[str, torch.Tensor]) -> None:
    """This rank's own, after `restore`."""
    lead = f"rank.{ranks.rank()}/"
    if f"{lead}cpu" in tensors:
        torch.set_rng_state(tensors[f"{lead}cpu"])
    if f"{lead}cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors[f"{lead}cuda"])


def restore(state: State, loader: Any = None) -> None:
    """As they stood. GPUs that are not here any more are passed over."""
    tensors, document = state
    version, numbers, gauss = document["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = document["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["cpu"])
    for number in range(torch.cuda.device_count()):
        if f"cuda.{number}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{number}"], number)
    for number, generator in enumerate(_of_loader(loader)):
        generator.set_state(tensors[f"loader.{number}"])


def _of_loader(loader: Any) -> list[torch.Generator]:
    """Each once, in an order that does not change."""
    found: dict[int, torch.Generator] = {}
    for holder in _holders(loader):
        for name in ("generator", "synchronized_generator"):
            one = getattr(holder, name, None)
            if isinstance(one, torch.Generator):
                found.setdefault(id(one), one)
    return list(found.values())


def _holders(loader: Any, depth: int = 4) -> Iterator[Any]:
    if loader is None or depth == 0:
        return
    yield loader
    for name in ("batch_sampler", "sampler"):
        yield from _holders(getattr(loader, name, None), depth - 1)


def named(prefix: str, state: State) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """To be kept beside another one."""
    return {f"{prefix}/{name}": tensor for name, tensor in state[0].items()}, {prefix: state[1]}


def unnamed(prefix: str, tensors: Mapping[str, torch.Tensor], documents: Mapping[str, Any]) -> State:
    lead = f"{prefix}/"
    return {name[len(lead) :]: one for name, one in tensors.items() if name.startswith(lead)}, documents[prefix]
