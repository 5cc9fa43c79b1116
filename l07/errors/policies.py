"""Reward models, and policies that leave the bounds of their checks (E7310-E7319)."""

from l07.errors.fates import Poison
from l07.errors.jobs import ChildError


class RewardModelUnfit(ChildError, Poison):
    """A reward model is not there, is none, or is not the one that a job names."""

    code = "E7310"


class RewardModelMissing(ChildError, Poison):
    """A policy was to be trained and no reward model is there: no job made one, or the one named is gone."""

    code = "E7311"


class PolicyOutOfBounds(ChildError, Poison):
    """A policy left its bounds while it trained: KL, entropy, length, valid calls, or held-out calls that got lost."""

    code = "E7312"


class RewardHacked(ChildError, Poison):
    """A policy's reward rose at held-out places while it got more of the recorded calls there wrong."""

    code = "E7313"
