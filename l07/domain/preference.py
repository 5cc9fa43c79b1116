"""What a run is worth to a learner: the evaluator's score as a reward."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
