"""How the rows of a batch are laid out: one a line, padded, or several behind each other, none of which sees another.

Packing changes where a row lies, never with which rows it makes a step: the batch is the sampler's, so order, curriculum,
canaries and exact resume are those of a run without it. Position ids begin anew at each row, from which transformers
makes a block-diagonal mask (SDPA) or the boundaries of the variable-length kernel (flash attention).
Source: Krell et al., "Efficient Sequence Packing without Cross-contamination" (2021), section 3. Departure: rows of one
step are packed, not those of the whole dataset, which would make a step of more rows or fewer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from l07.domain.hardware import Plan
from l07.errors import BadJob
from l07.training.rows import IGNORED

Batch = dict[str, torch.Tensor]


def lines(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of rows by line, none of more than `room` tokens: the longest row first, each on the first line where it
    fits, and then in the order given; a row longer than `room` has a line of its own."""
    out: list[list[int]] = []
    left: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        at = next((at for at, free in enumerate(left) if free >= lengths[number]), len(out))
        if at == len(out):
            out.append([])
            left.append(room)
        out[at].append(number)
        left[at] -= lengths[number]
    return sorted(sorted(line) for line in out)


class Batches:
    """Makes tensors of rows. `packed`: lines are as long as the longest row, `one_line`: all rows on one, as flash
    attention takes them."""

    def __init__(self, pad: int, *, packed: bool = False, one_line: bool = False) -> None:
        self._pad, self._packed, self._one_line = pad, packed, one_line

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        lengths = [len(row["input_ids"]) for row in rows]
        room = sum(lengths) if self._one_line else max(lengths)
        made = lines(lengths, room) if self._packed else []
        if len(made) in (0, len(rows)):  # no two rows fit on a line: then no mask is needed either
            return self._filled(rows, [[number] for number in range(len(rows))], max(lengths), positions=False)
        return self._filled(rows, made, room)

    def padded(self) -> "Batches":
        """One row a line: a look at the validation split counts lines as rows."""
        return Batches(self._pad)

    def _filled(
        self, rows: Sequence[Mapping[str, Any]], made: Sequence[Sequence[int]], room: int, *, positions: bool = True
    ) -> Batch:
        """What pads a line stands for a row of its own, so that it is seen by nobody."""
        shape = (len(made), room)
        ids, labels = torch.full(shape, self._pad), torch.full(shape, IGNORED)
        mask, places = torch.zeros(shape, dtype=torch.long), torch.arange(room).repeat(len(made), 1)
        for number, line in enumerate(made):
            at = 0
            for row in line:
                end = at + len(rows[row]["input_ids"])
                ids[number, at:end] = torch.tensor(rows[row]["input_ids"])
                labels[number, at:end] = torch.tensor(rows[row]["labels"])
                labels[number, at] = IGNORED  # it would be the answer to the row before
                mask[number, at:end] = 1
                places[number, at:end] = torch.arange(end - at)
                at = end
            places[number, at:] = torch.arange(room - at)
        out = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        return {**out, "position_ids": places} if positions else out


def read(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the model is given of a batch. Packed: without the mask, which counts tokens and would hide where rows begin."""
    left_out = ("labels", "attention_mask") if "position_ids" in inputs else ("labels",)
    return {name: value for name, value in inputs.items() if name not in left_out}


def crosses(model: Any) -> bool:
    """Whether a row of a packed line sees the one before it: asked of the model itself, as a recurrent layer, or attention
    that takes no notice of position ids, would let it."""
    told = []
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    for before in (1, 2):
        ids = [[before] * 8, [3, 4, 5, 3, 4, 5, 3, 4]]
        batch = Batches(0, packed=True, one_line=True)([{"input_ids": row, "labels": row} for row in ids])
        given = {name: value.to(device) for name, value in read(batch).items()}
        with torch.no_grad():
            told.append(model(**given, use_cache=False).logits[:, 8:].float())
    model.train(was_training)
    return not torch.allclose(*told, atol=1e-3)


def allowed(plan: Plan, model: Any, asked: str) -> bool:
    """Whether the job is packed. Raises BadJob (E7706) where it was asked for, and this base cannot be."""
    if not plan.packing:
        return False
    if not crosses(model):
        return True
    if asked == "on":
        raise BadJob("training.packing = on: rows of one sequence see each other in this base; set it to off or auto")
    return False
