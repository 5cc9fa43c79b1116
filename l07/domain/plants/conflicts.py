"""Two scores of one execution that contradict each other before it is sealed. What the wire says of them: the more confident
one counts, of equally confident ones that with the smaller evaluation_id, whichever came first; the other is a duplicate."""

import random
from collections.abc import Mapping

from l07.domain.example import TrainingExample
from l07.domain.plants.base import Planted, Planter, Pool, SecondScore


def surer_score(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """It fails the run, and counts."""
    sure = round(run.confidence + (1 - run.confidence) * rng.uniform(0.2, 1.0), 6)
    return _failed(run, pool, rng, sure, smaller_id=rng.random() < 0.5) if sure > run.confidence else None


def tied_score(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """It fails the run, is as sure as the other, and has the smaller id: it counts."""
    return _failed(run, pool, rng, run.confidence, smaller_id=True)


def unsure_praise(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """It would let a failed run pass, and does not count."""
    unsure = _less(run.confidence, rng)
    if not pool.accepted or unsure >= run.confidence:
        return None
    good = rng.choice(pool.accepted).quality_score
    return _planted(run, SecondScore(good, unsure, smaller_id=rng.random() < 0.5, first=rng.random() < 0.5))


def unsure_blame(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """It would fail a good run, and does not count."""
    unsure = _less(run.confidence, rng)
    return _failed(run, pool, rng, unsure, smaller_id=rng.random() < 0.5) if unsure < run.confidence else None


def tied_blame(run: TrainingExample, pool: Pool, rng: random.Random) -> Planted | None:
    """It would fail a good run, is as sure as the other, and has the larger id: it does not count."""
    return _failed(run, pool, rng, run.confidence, smaller_id=False)


def _less(confidence: float, rng: random.Random) -> float:
    return round(confidence * rng.uniform(0.3, 0.98), 6)


def _failed(
    run: TrainingExample, pool: Pool, rng: random.Random, confidence: float, *, smaller_id: bool
) -> Planted | None:
    if not pool.rejected:
        return None
    bad = rng.choice(pool.rejected).quality_score
    return _planted(run, SecondScore(bad, confidence, smaller_id=smaller_id, first=rng.random() < 0.5))


def _planted(run: TrainingExample, second: SecondScore) -> Planted:
    place = "before" if second.first else "behind"
    said = f"score {run.quality_score:g} at {run.confidence:g}, and {place} it {second.quality_score:g} at {second.confidence:g}"
    return Planted(run, said, second=second)


CONFLICTS: Mapping[str, Planter] = {
    "surer_score": surer_score,
    "tied_score": tied_score,
    "unsure_praise": unsure_praise,
}
OUTVOTED: Mapping[str, Planter] = {"unsure_blame": unsure_blame, "tied_blame": tied_blame}
OF_REJECTED = frozenset({"unsure_praise"})  # planted into runs that do not pass the gates
