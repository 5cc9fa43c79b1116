"""Builders for doubt: runs of a shop's assistant, in which calls, outputs and answers belong together."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from l07.domain.doubt import Attempt, Run, read
from l07.domain.example import FEATURES, measure

Message = Mapping[str, Any]


def called(name: str, ident: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": ident, "type": "function", "function": function}],
    }


def returned(name: str, ident: str, text: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "name": name, "content": text}


def a_purchase(number: int, *, seed: int = 0) -> Run:
    """Look a customer up, then an order, then pay it, then say so. Runs of one number are attempts at one task."""
    rng = random.Random(f"{seed}/{number}")
    customer, order, price = f"customer_{number:04}", f"order_{rng.randrange(10**6):06}", rng.randrange(10, 999)
    goal = f"Pay the open order of {customer} please"
    return Run(
        (
            {"role": "user", "content": goal},
            called("find_customer", "a", customer_id=customer),
            returned("find_customer", "a", f'{{"id": "{customer}", "orders": ["{order}"]}}'),
            called("get_order", "b", order_id=order),
            returned("get_order", "b", f"Order {order} of {customer}: total {price}.00"),
            called("pay", "c", order_id=order, amount=price),
            returned("pay", "c", f"[paid] {order} {price}.00 on {rng.choice(('Monday', 'Friday'))}"),
            {"role": "assistant", "content": f"I have paid {order}, which was {price}.00"},
        ),
        goal,
    )


def a_failure(number: int, *, seed: int = 0) -> Run:
    """The same beginning; the assistant asks again and again and gives up."""
    run = a_purchase(number, seed=seed)
    again = [message for _ in range(3) for message in run.messages[1:3]]
    return Run((run.messages[0], *again, {"role": "assistant", "content": "I could not find it"}), run.goal)


def an_attempt(key: str, run: Run, *, task: str, accepted: bool = True, new: bool = True) -> Attempt:
    features, reading = measure(run.messages, run.goal), read(run.messages, run.goal)
    values = (*(features[name] for name in FEATURES), *reading.values)
    return Attempt(key, "/shop", "shop", task, accepted, values, reading.trail, new)


def a_source(runs: Sequence[Run], *, per_task: int = 3, prefix: str = "k", **more: Any) -> list[Attempt]:
    return [an_attempt(f"{prefix}{n:04}", run, task=f"t{n // per_task}", **more) for n, run in enumerate(runs)]
