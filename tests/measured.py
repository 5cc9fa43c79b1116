"""Builders of recorded measurements that name only what matters."""

import random
from collections.abc import Callable

from l07.domain.measurements import Answer, Call, Likelihood, Measurements, Pair, Row


def an_answer(exact: bool = True, *, valid: bool = True, known: bool = True, tokens: int = 20) -> Answer:
    return Answer(text="", name="tool" if valid else None, known=known and valid, exact=exact and valid, tokens=tokens)


def a_row(
    candidate: Answer,
    baseline: Answer | None,
    *,
    group: str,
    domain: str = "shop",
    set: str = "test",
    difficulty: float | None = 0.2,
) -> Row:
    return Row(set, f"execution:{set}-{group}", group, domain, difficulty, (Call(1, "tool", candidate, baseline),))


def rows_of(
    n: int,
    candidate: float,
    baseline: float,
    *,
    seed: int = 1,
    domain: str = "shop",
    set: str = "test",
    answer: Callable[[bool], Answer] = an_answer,
) -> list[Row]:
    """`n` groups of one row; each side is right with its own probability, both from one draw, as paired answers are."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        luck = rng.random()
        rows.append(
            a_row(
                answer(luck < candidate), an_answer(luck < baseline), group=f"{domain}{number}", domain=domain, set=set
            )
        )
    return rows


def pairs(n: int = 30, *, slower: float = 1.0, seed: int = 3) -> tuple[Pair, ...]:
    rng = random.Random(seed)
    times = [tuple(0.002 + 0.0005 * rng.random() for _ in range(16)) for _ in range(2 * n)]
    return tuple(Pair(tuple(t * slower for t in times[2 * i]), times[2 * i + 1]) for i in range(n))


def canaries(n: int = 8, *, known: bool = False, others: int = 1024, seed: int = 5) -> tuple[Likelihood, ...]:
    rng = random.Random(seed)
    planted = [Likelihood(f"o{i}", -20.0, tuple(rng.gauss(-20, 2) for _ in range(others))) for i in range(n)]
    return (Likelihood("o0", -1.0, planted[0].others), *planted[1:]) if known else tuple(planted)


def measured(**changes: object) -> Measurements:
    """A genuinely better model on three domains, 40 groups each, with a golden set of 150."""
    rows = [row for d in ("shop", "bank", "travel") for row in rows_of(40, 0.9, 0.5, domain=d, seed=ord(d[0]))]
    whole: dict[str, object] = {
        "rows": (*rows, *rows_of(150, 0.9, 0.5, set="golden")),
        "has_baseline": True,
        "canaries": canaries(),
        "latency": pairs(),
        "golden": True,
    }
    return Measurements(**{**whole, **changes})  # type: ignore[arg-type]
