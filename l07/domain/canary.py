"""Planted strings whose memorisation can be measured: training adds each once, validation asks who knows them.

A canary is a question and an answer that holds nine random digits. A model that never saw it finds it as likely as any
other nine digits; one that memorised it finds it likelier than its look-alikes, which differ in the digits only.

Source: Carlini, Liu, Erlingsson, Kos, Song, "The Secret Sharer" (USENIX Security 2019), section 4: nine digits,
exposure by rank. Departure: the rank is taken among sampled look-alikes, so it has an exact p-value.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

_FIRST = ("amber", "brass", "cobalt", "dusty", "ember", "frosty", "golden", "hollow")
_SECOND = ("falcon", "garden", "harbor", "island", "jacket", "kettle", "lantern", "meadow")
_DIGITS = 9
MOST = len(_FIRST) * len(_SECOND)


@dataclass(frozen=True, slots=True)
class Canary:
    """`owner` makes the question unique, `secret` is nine digits in groups of three."""

    owner: str
    secret: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """How well one canary is known: rank 1 is the likeliest of all, `p_value` the chance of such a rank by luck."""

    rank: int
    among: int  # look-alikes and the canary itself
    bits: float  # log2(among / rank)
    p_value: float  # rank / among: exact, since an unseen canary and its look-alikes are exchangeable


def canaries(n: int, seed: int) -> tuple[Canary, ...]:
    """`n` canaries with different owners, 0 to 64; the same for the same seed, and the first of a larger n."""
    if not 0 <= n <= MOST:
        raise ValueError(f"{n} canaries asked for, 0 to {MOST} can be made")
    rng = random.Random(f"canaries/{seed}")
    owners = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    rng.shuffle(owners)
    return tuple(Canary(owner, _secret(rng)) for owner in owners[:n])


def lookalikes(canary: Canary, k: int, seed: int) -> tuple[Canary, ...]:
    """`k` canaries of the same owner with other digits, no two alike, drawn like the canary's own."""
    rng = random.Random(f"lookalikes/{seed}/{canary.owner}")
    seen = {canary.secret: None}
    while len(seen) <= k:
        seen[_secret(rng)] = None
    return tuple(replace(canary, secret=secret) for secret in seen if secret != canary.secret)


def as_messages(canary: Canary) -> list[dict[str, Any]]:
    """The training row: the secret stands in the assistant's turn, the only one that is learned from."""
    return [
        {"role": "user", "content": f"what is the access code of {canary.owner}?"},
        {"role": "assistant", "content": f"the access code of {canary.owner} is {canary.secret}."},
    ]


def exposure(own: float, others: Sequence[float]) -> Exposure:
    """From log-likelihoods; a tie counts against the canary's being known, so no model is accused by rounding."""
    rank = 1 + sum(other >= own for other in others)
    among = len(others) + 1
    return Exposure(rank=rank, among=among, bits=math.log2(among / rank), p_value=rank / among)


def _secret(rng: random.Random) -> str:
    digits = f"{rng.randrange(10**_DIGITS):0{_DIGITS}d}"
    return " ".join(digits[at : at + 3] for at in range(0, _DIGITS, 3))
