"""Several processes that train one model together, each with a share of its weights and of every batch. "Rank" is a process's number.

Source: Zhao et al., "PyTorch FSDP" (2023), as `torch.distributed.fsdp.fully_shard` (FSDP2) does it. Departures: each rank reads
the whole base before it keeps its share; what is written to disk is whole, as one process would write it, and rank 0 does it.
In a process that trains alone everything here is a no-op.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.data import Sampler

from l07.domain.job import JobConfig
from l07.errors import RanksUnfit

METHODS = ("sft",)  # that were shown to give under several ranks what they give under one
PATIENCE = timedelta(minutes=30)  # of a rank that waits for another one, which may be writing a checkpoint


def join() -> None:
    """Meet the others; the launcher's environment says where. CPU tensors go by gloo, those of GPUs by NCCL."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)


def folder_of_all(folder: Path | None) -> Path:
    """Rank 0's, which the others see under the same path."""
    own = str(folder or "").encode()
    (size,) = told([len(own)])
    sent = told(list(own.ljust(size)[:size]))
    return Path(bytes(sent).decode())


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    return rank() == 0


def here() -> int:
    """Ranks on this machine: they share its cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def check(config: JobConfig, method: str) -> None:
    """Before any weight is read.

    Raises:
        RanksUnfit: E7746, the job cannot be shared among so many ranks."""
    if count() == 1:
        return
    if method not in METHODS or config.adapter == "qlora":
        what = method if method not in METHODS else f"{method} with training.adapter = qlora"
        raise RanksUnfit(
            f"{what} does not train in several processes, only {', '.join(METHODS)} with lora or full does; "
            "set training.processes and training.nodes to 1",
        )
    if config.batch_size % count():
        raise RanksUnfit(
            f"a step of {config.batch_size} rows cannot be shared evenly by {count()} processes; "
            f"set training.batch_size to a multiple of {count()}"
        )


def shard(model: Any) -> Any:
    """`model`, of whose weights this rank holds a share from now on: each layer by itself, then what is left."""
    if count() == 1:
        return model
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (count(),))
    layers = _layers(model)
    for module in [one for one in model.modules() if type(one).__name__ in layers]:
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # transformers' own word for "placed and reduced already": else its Trainer would wrap it once more
    inner = getattr(model, "get_base_model", lambda: model)()
    inner._is_distributed_loading_by_transformers = True
    return model


def _layers(model: Any) -> frozenset[str]:
    """Names of the classes of which a model is a stack, as transformers knows them."""
    inner = getattr(model, "get_base_model", lambda: model)()
    return frozenset(getattr(inner, "_no_split_modules", None) or ())


def reshard(model: Any) -> None:
    """A forward pass may leave weights whole, and what is done to those is lost."""
    for module in model.modules() if count() > 1 else ():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a weight, of which each rank holds a share. Every rank has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This rank's share of a whole tensor, as it has it of `like`. Every rank has the same whole."""
    if not isinstance(like, DTensor):
        return tensor
    placed = tensor.to(like.device)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What of it lies here."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(model: Any) -> None:
    """Make the weights that moved whole again, to be saved. Nothing can be trained or asked after that."""
    if count() == 1:
        return
    reshard(model)
    moved = [weight for weight in model.parameters() if weight.requires_grad and isinstance(weight, DTensor)]
    made = {id(weight): torch.nn.Parameter(whole(weight.detach()).cpu()) for weight in moved}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in made:  # one that stands in two places stays one
                module._parameters[name] = made[id(weight)]


def agree(*said: bool) -> list[bool]:
    """Of each, whether any rank says so."""
    if count() == 1:
        return list(said)
    votes = torch.tensor(said, dtype=torch.uint8)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return [bool(vote) for vote in votes.tolist()]


def mean(value: float) -> float:
    """Over all ranks."""
    if count() == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(total)
    return float(total.item()) / count()


def kept(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Whole, on rank 0; nothing on the others. Every rank has to ask."""
    out = {}
    for name, tensor in tensors.items():
        found = whole(tensor.detach())
        if is_first():
            out[name] = found.to("cpu")
    return out


def each(tensor: torch.Tensor) -> list[torch.Tensor]:
    """What each rank has, by its number; a CPU tensor of one size."""
    if count() == 1:
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(count())]
    dist.all_gather(found, tensor)
    return found


def told(numbers: Sequence[int]) -> list[int]:
    """Rank 0's numbers, to all ranks; as many as each of them has itself."""
    if count() == 1:
        return list(numbers)
    sent = torch.tensor(numbers, dtype=torch.int64)
    dist.broadcast(sent, 0)
    return [int(one) for one in sent.tolist()]


def rows_at_a_time(step: int, at_most: int) -> int:
    """Of one rank, where all together should have `at_most`, and a whole number of such rounds makes a step."""
    fitting = (rows for rows in range(at_most // count(), 1, -1) if step % (rows * count()) == 0)
    return next(fitting, 1)


def one_order(inner: Any, *, rows: int, step: int) -> "OneOrder":
    """The trainer's own sampler over `rows`, beside which the dataset has a blank one at its end."""
    if hasattr(inner, "lengths"):  # by length: groups of a step's rows, as in one process
        inner.lengths, inner.batch_size = inner.lengths[:rows], step
    else:
        inner = type(inner)(range(rows))
    return OneOrder(inner, rows=rows, step=step)


class OneOrder(Sampler):  # type: ignore[misc]  # torch ships types that are not looked at here
    """One order of the rows for all ranks, drawn by rank 0, as long as a whole number of steps: what is missing at its end is
    row number `blank`, which says nothing. So every rank takes as many steps, and no row is learned from twice in a pass."""

    def __init__(self, inner: Iterable[int], *, rows: int, step: int) -> None:
        self._inner, self._rows, self._step = inner, rows, step
        assert isinstance(inner, Sized)
        assert len(inner) == rows

    def __len__(self) -> int:
        return -(-self._rows // self._step) * self._step

    def __iter__(self) -> Iterator[int]:
        order = told(list(self._inner))
        yield from order
        yield from [self._rows] * (len(self) - len(order))
