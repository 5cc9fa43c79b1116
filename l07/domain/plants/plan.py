"""Which runs get which fault: rates by kind, the same share of every source, each run at most one."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from l07.domain.example import TrainingExample
from l07.domain.plants.base import Planted, Planter, Pool, SecondScore
from l07.domain.plants.conflicts import CONFLICTS, OUTVOTED
from l07.domain.plants.conflicts import OF_REJECTED as CONFLICTS_OF_REJECTED
from l07.domain.plants.hijack import hijacked, resisted
from l07.domain.plants.noise import FAULTS
from l07.domain.plants.noise import OF_REJECTED as NOISE_OF_REJECTED
from l07.domain.plants.spill import SPILLS
from l07.domain.plants.twins import exact_repeat, near_twin, same_deeds
from l07.domain.selection import keyed_hash
from l07.errors import BadAudit


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its planters by name, the share of the accepted runs that gets it by default, and whether the
    plant is one more run instead of taking the place of its original."""

    faults: Mapping[str, Planter]
    default: float
    adds: bool = False


def _later(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """A second, more certain score comes when the run is in a dataset already, and it fails the run."""
    if not pool.rejected:
        return None
    bad = rng.choice(pool.rejected)
    judged = replace(run, quality_score=bad.quality_score, confidence=0.99)
    return Planted(judged, f"score {run.quality_score:g}, and later {bad.quality_score:g}", judged_as=bad.key)


KINDS: Mapping[str, Kind] = {
    "noise": Kind(FAULTS, 0.12),
    "secrets": Kind(SPILLS, 0.05),
    "hijack": Kind({"hijacked": hijacked}, 0.05),
    "resisted": Kind({"resisted": resisted}, 0.02),
    "late": Kind({"late_score": _later}, 0.01),
    "twins": Kind({"near_twin": near_twin}, 0.02, adds=True),
    "leak": Kind({"same_deeds": same_deeds}, 0.02, adds=True),
    "repeats": Kind({"exact_repeat": exact_repeat}, 0.02, adds=True),
    "conflict": Kind(CONFLICTS, 0.01),
    "outvoted": Kind(OUTVOTED, 0.01),
}
OF_REJECTED = NOISE_OF_REJECTED | CONFLICTS_OF_REJECTED


@dataclass(frozen=True, slots=True)
class Plant:
    """One fault where it is. `key` is the run's that has it, `of` the run's that it was made of."""

    kind: str
    fault: str
    source: str
    key: str
    of: str
    what: str
    example: TrainingExample = field(repr=False)
    values: tuple[str, ...] = field(default=(), repr=False)
    judged_as: str = ""
    second: SecondScore | None = None

    @property
    def passes_at_first(self) -> bool:
        """A second score contradicts one that passes the gates; by which of them the run is judged is what is asked."""
        return self.second is not None and self.fault not in OF_REJECTED


def parse_rates(text: str) -> dict[str, float]:
    """`noise=0.12,secrets=0.05`: the share of each source's accepted runs, by kind or by single fault; "" means every
    kind with its default.

    Raises BadAudit (E7910) with what can be planted."""
    if not text.strip():
        return {name: kind.default for name, kind in KINDS.items()}
    rates = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in KINDS and name not in _kind_of():
            raise BadAudit(f"nothing is known of {name!r}. {_choices()}", kind=name)
        rates[name] = _rate(name, number) if number or "=" in part else _default(name)
    together = sum(rates.values())
    if together > 1:
        raise BadAudit(f"the rates add up to {together:g}; a run gets one fault at most, so 1 is all of them")
    return rates


def _rate(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadAudit(f"{name}={text}: a rate is a share of the runs, from 0 to 1", kind=name)
    return value


def _default(name: str) -> float:
    return KINDS[name].default if name in KINDS else 0.02


def _choices() -> str:
    kinds = ", ".join(f"{name} ({kind.default:g})" for name, kind in KINDS.items())
    faults = ", ".join(fault for fault in _kind_of() if fault not in SPILLS)
    return f"Kinds with their default rates: {kinds}. Single faults: {faults}, and each kind of secret"


def _kind_of() -> dict[str, str]:
    return {fault: name for name, kind in KINDS.items() for fault in kind.faults}


def plants(sources: Mapping[str, Pool], rates: Mapping[str, float], *, seed: int) -> list[Plant]:
    """What is planted, source by source. A fault that no run lends itself to is left out, so fewer may come than were
    asked for; the result follows from runs, rates and seed alone."""
    return [plant for source, pool in sorted(sources.items()) for plant in _of_source(source, pool, rates, seed)]


def _of_source(source: str, pool: Pool, rates: Mapping[str, float], seed: int) -> Iterator[Plant]:
    free = {
        False: _shuffled(pool.accepted, seed),
        True: _shuffled(pool.rejected, seed),
    }
    for name, rate in rates.items():
        kind = KINDS[name] if name in KINDS else KINDS[_kind_of()[name]]
        faults = list(kind.faults) if name in KINDS else [name]
        count = round(rate * len(pool.accepted))
        start = keyed_hash(seed, "fault", f"{source}/{name}") % len(faults)
        wanted: dict[str, int] = defaultdict(int)
        for number in range(count):
            wanted[faults[(start + number) % len(faults)]] += 1
        for fault, number in wanted.items():
            runs = free[fault in OF_REJECTED]
            yield from _taken(fault, kind.faults[fault], runs, pool, number, seed, source)


def _shuffled(runs: Sequence[TrainingExample], seed: int) -> list[TrainingExample]:
    return sorted(runs, key=lambda run: (keyed_hash(seed, "plant", run.key), run.key))


def _taken(
    fault: str, planter: Planter, runs: list[TrainingExample], pool: Pool, count: int, seed: int, source: str
) -> Iterator[Plant]:
    """The first `count` that lend themselves leave `runs`."""
    used: set[str] = set()
    for run in list(runs):
        if len(used) == count:
            break
        planted = planter(run, pool, random.Random(f"{seed}/{fault}/{run.key}"))
        if planted is not None:
            used.add(run.key)
            example = planted.example
            yield Plant(
                _kind_of()[fault], fault, source, example.key, run.key, planted.what, example, planted.values,
                planted.judged_as, planted.second,
            )  # fmt: skip
    runs[:] = [run for run in runs if run.key not in used]
