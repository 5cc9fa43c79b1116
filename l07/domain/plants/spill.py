"""Secrets and personal data in a run: one planter a kind of secrets.KINDS, in contexts that rules are not made on."""

import random
from collections.abc import Mapping
from functools import partial

from l07.domain.example import TrainingExample
from l07.domain.plants.base import Planted, Planter, Pool, with_goal, with_messages
from l07.domain.plants.secrets import KINDS, into, plant


def spilled(run: TrainingExample, pool: Pool, rng: random.Random, *, kind: str) -> Planted | None:
    """A value of that kind where a run would have it: what the user, the assistant or a tool said, or in a call."""
    made = plant(kind, rng)
    whole = with_messages(run, into(run.messages, made, rng))
    goal = next((str(m.get("content")) for m in whole.messages if m.get("role") == "user"), run.goal)
    sort = "personal" if made.personal else "secret"
    place = "goal" if made.value in goal else made.place
    return Planted(with_goal(whole, goal), f"{sort}, {place}", (made.value,))


SPILLS: Mapping[str, Planter] = {kind: partial(spilled, kind=kind) for kind in KINDS}
