"""What a run is worth to a learner: the evaluator's score as a reward, and which of two runs is to be preferred."""

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from l07.domain.selection import keyed_hash, lowest

TIMEOUT, ERROR, CONSTRAINT = 0.5, 0.3, 0.2  # what each costs
CLIP = 2.0  # of a standardised reward, in standard deviations


@dataclass(frozen=True, slots=True)
class RewardSignal:
    """One run's reward: (score - 50) / 50, times the confidence, less a penalty for each thing that went wrong.

    -1 to 1 before penalties; a doubtful score pulls towards 0, a penalty does not depend on the confidence.

    Raises:
        ValueError: a score outside 0-100, or a confidence outside 0-1."""

    quality_score: float  # 0-100
    confidence: float  # 0-1
    timeout: bool = False
    error: bool = False
    constraint_violation: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.quality_score <= 100 or not 0 <= self.confidence <= 1:
            raise ValueError(f"a score is 0-100 and a confidence 0-1, not {self.quality_score} and {self.confidence}")

    @property
    def penalty(self) -> float:
        return TIMEOUT * self.timeout + ERROR * self.error + CONSTRAINT * self.constraint_violation

    @property
    def reward(self) -> float:
        return (self.quality_score - 50) / 50 * self.confidence - self.penalty


def standardised(rewards: Sequence[float]) -> list[float]:
    """Rewards of one batch with mean 0 and deviation 1 (population), clipped to +-2; all 0 where they do not differ."""
    if not rewards:
        return []
    mean = math.fsum(rewards) / len(rewards)
    deviation = math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards))
    if deviation < 1e-12:
        return [0.0] * len(rewards)
    return [max(-CLIP, min(CLIP, (reward - mean) / deviation)) for reward in rewards]


# ------------------------------------------------------------------ pairs and labels

MOST_ATTEMPTS = 64  # of one prompt that are compared, accepted and rejected each
NEAR, BIN = 100, 0.25  # characters, and width of log(1 + difference/NEAR): in one bin pairs differ alike in length


@dataclass(frozen=True, slots=True)
class PreferenceRules:
    """What pairs and labels depend on, beside the rows."""

    seed: int = 7
    min_margin: float = 20.0  # points of the quality score, 0-100
    pairs_per_task: int = 4
    balance_length: bool = True
    compare: Literal["rest", "turn", "run"] = "rest"


class Turn(NamedTuple):
    """One turn of the agent. `before` and `said`: digests of all that came before it, and of what it says."""

    at: int  # its message's number
    before: bytes
    said: bytes
    length: int  # characters


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row that may be preferred, or be what another is preferred to. `prompt`: digest of all that came before the
    agent's first turn; `length`: characters of what came after, or of the turn in which the runs of a pair part."""

    key: str
    task: str
    prompt: str
    split: str
    domain: str
    accepted: bool
    quality_score: float  # 0-100
    confidence: float  # 0-1
    length: int
    turns: tuple[Turn, ...] = ()

    @property
    def reward(self) -> float:
        return RewardSignal(self.quality_score, self.confidence).reward

    @property
    def stratum(self) -> str:
        return f"{self.split}/{self.domain}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs of one task that began with the same words. `margin`: the difference of their rewards. `at`: the message
    in which they part, None: they are compared from the agent's first turn on. `alone`: without what came after it."""

    chosen: Attempt
    rejected: Attempt
    at: int | None = None
    alone: bool = False

    @property
    def margin(self) -> float:
        return round(self.chosen.reward - self.rejected.reward, 6)

    @property
    def log_ratio(self) -> float:
        """How much longer the chosen run is: logarithm of the ratio of lengths."""
        return math.log(self.chosen.length / self.rejected.length)

    @property
    def name(self) -> str:
        return f"{self.chosen.key}/{self.rejected.key}"


def eligible(decision: str, reasons: Iterable[str]) -> bool:
    """Whether a row may take part: it was accepted or rejected, and nobody doubts its score. Quarantine and review
    never do, nor a score whose own evaluator was unsure."""
    doubted = any(reason == "low_confidence" or reason.startswith("doubtful") for reason in reasons)
    return decision in ("ACCEPT", "REJECT") and not doubted


def candidate_pairs(attempts: Iterable[Attempt], rules: PreferenceRules) -> list[Pair]:
    """Every pair of one prompt, task and split in which the chosen run was accepted and scored `min_margin` points
    more. Of a prompt with very many attempts only some take part, by keyed hash."""
    groups: dict[tuple[str, str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        groups[attempt.split, attempt.task, attempt.prompt].append(attempt)
    found = []
    for _, group in sorted(groups.items()):
        some = [*_some(group, True, rules), *_some(group, False, rules)]
        found += [Pair(a, b) for a in some if a.accepted for b in some if _apart(a, b, rules.min_margin)]
    if rules.compare == "run":
        return found
    alone = rules.compare == "turn"
    return [cut for pair in found if (cut := where_they_part(pair, alone=alone)) is not None]


def where_they_part(pair: Pair, *, alone: bool) -> Pair | None:
    """The first turn in which the two agents did something else, after all had gone alike; None: there is none, because
    one run ended, or the world answered otherwise. Its length is what is balanced, with the rest of the runs or without:
    what an agent does in more turns is no longer way of saying it.

    Source: Lai et al., "Step-DPO" (2024), section 3. Departure: the step is where two recorded runs part, not where a
    judge finds the first error; so what made the difference may have come later, and then the pair is noise."""
    for one, other in zip(pair.chosen.turns, pair.rejected.turns, strict=False):
        if one.before != other.before:
            return None
        if one.said != other.said:
            sides = (replace(pair.chosen, length=one.length), replace(pair.rejected, length=other.length))
            return Pair(*sides, one.at, alone)
    return None


def _some(group: Iterable[Attempt], accepted: bool, rules: PreferenceRules) -> list[Attempt]:
    rows = [attempt for attempt in group if attempt.accepted is accepted]
    return sorted(rows, key=lambda a: (keyed_hash(rules.seed, "attempt", a.key), a.key))[:MOST_ATTEMPTS]


def _apart(one: Attempt, other: Attempt, least: float) -> bool:
    return one.quality_score - other.quality_score >= least


def preference_pairs(candidates: Sequence[Pair], rules: PreferenceRules) -> list[Pair]:
    """At most `pairs_per_task` of each task, each row once a side, and among all no sign of length: within a split
    and domain, for each pair whose chosen run is the longer one there is one whose chosen run is as much shorter.

    A model that is taught with pairs learns to write long where the chosen runs are long (Singhal et al., 2023; Park
    et al., 2024). Departure: pairs are matched in bins of the difference rather than weighted; what has no counterpart
    is left out."""
    rarer = _rarer_signs(candidates)
    by_task: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in candidates:
        by_task[pair.chosen.split, pair.chosen.task].append(pair)
    taken = [pair for _, pairs in sorted(by_task.items()) for pair in _of_task(pairs, rarer, rules)]
    return _balanced(taken, rules) if rules.balance_length else taken


def _rarer_signs(pairs: Iterable[Pair]) -> set[tuple[str, bool]]:
    """(stratum, whether the chosen run is longer) of the rarer kind: pairs of it are taken first."""
    counts = Counter((pair.chosen.stratum, pair.log_ratio > 0) for pair in pairs)
    return {(stratum, sign) for stratum, sign in counts if counts[stratum, sign] < counts[stratum, not sign]}


def _of_task(pairs: Iterable[Pair], rarer: Container[tuple[str, bool]], rules: PreferenceRules) -> Iterator[Pair]:
    def order(pair: Pair) -> tuple[bool, int, int, str]:
        common = (pair.chosen.stratum, pair.log_ratio > 0) not in rarer
        return common, abs(_bin(pair)), keyed_hash(rules.seed, "pair", pair.name), pair.name

    used: set[tuple[str, str]] = set()
    left = rules.pairs_per_task
    for pair in sorted(pairs, key=order):
        sides = {("chosen", pair.chosen.key), ("rejected", pair.rejected.key)}
        if left and not sides & used:
            used |= sides
            left -= 1
            yield pair


def _bin(pair: Pair) -> int:
    """0: about as long as each other; above: the chosen run is longer."""
    differs = pair.chosen.length - pair.rejected.length
    return int(math.copysign(round(math.log1p(abs(differs) / NEAR) / BIN), differs))


def _balanced(pairs: Iterable[Pair], rules: PreferenceRules) -> list[Pair]:
    bins: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    for pair in pairs:
        bins[pair.chosen.stratum, _bin(pair)].append(pair)
    kept: list[Pair] = []
    for (stratum, number), found in sorted(bins.items()):
        many = min(len(found), len(bins.get((stratum, -number), ())))
        kept += sorted(found, key=lambda p: (keyed_hash(rules.seed, "balance", p.name), p.name))[:many]
    return sorted(kept, key=lambda pair: (pair.chosen.split, pair.name))


def length_bias(pairs: Sequence[Pair]) -> dict[str, float | int | None]:
    """How the chosen runs differ from the rejected in length; None where there are no pairs."""
    count = len(pairs)
    if not count:
        return {"pairs": 0, "mean_difference": None, "mean_log_ratio": None, "chosen_longer": None}
    return {
        "pairs": count,
        "mean_difference": round(
            math.fsum(p.chosen.length - p.rejected.length for p in pairs) / count, 1
        ),  # characters
        "mean_log_ratio": round(math.fsum(p.log_ratio for p in pairs) / count, 4),
        "chosen_longer": round(sum(p.chosen.length > p.rejected.length for p in pairs) / count, 4),
    }


def kto_labels(attempts: Iterable[Attempt], rules: PreferenceRules) -> dict[str, bool]:
    """Key -> whether the run is desirable: as many of one kind as of the other in each split and domain, chosen by
    keyed hash, so that neither the domain nor the counts give the label away."""
    strata: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for attempt in attempts:
        strata[attempt.stratum, attempt.accepted].append(attempt.key)
    labels: dict[str, bool] = {}
    for (stratum, accepted), keys in strata.items():
        many = min(len(keys), len(strata.get((stratum, not accepted), ())))
        labels |= dict.fromkeys(lowest(keys, many, seed=rules.seed, purpose="kto"), accepted)
    return dict(sorted(labels.items()))
