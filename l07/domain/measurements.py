"""What an evaluation recorded: every answer, every raw measurement, no decision. Training writes, the verdict reads."""

from typing import Literal

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """What one model wrote where the record has a tool call."""

    text: str
    name: str | None  # of the tool that it called; None: no call can be read from the text
    known: bool  # the row's tool list has that name
    exact: bool  # the recorded name, and JSON-equal arguments
    tokens: int


class Call(msgspec.Struct, frozen=True):
    """One recorded assistant tool call; both models saw the same prefix."""

    message: int  # index in the row's messages
    name: str
    candidate: Answer
    baseline: Answer | None


class Row(msgspec.Struct, frozen=True):
    """One held-out run with at least one scored call."""

    set: Literal["test", "golden"]
    key: str
    group: str
    domain: str
    difficulty: float | None  # 0-1
    calls: tuple[Call, ...]


class Likelihood(msgspec.Struct, frozen=True):
    """Log-likelihood of a planted canary and of its look-alikes under the candidate, natural logarithm."""

    owner: str
    own: float
    others: tuple[float, ...]


class Pair(msgspec.Struct, frozen=True):
    """Seconds of each generated token, one prompt, the two models by turns."""

    candidate: tuple[float, ...]
    baseline: tuple[float, ...]


class Skipped(msgspec.Struct, frozen=True):
    """What could not be measured: rows beyond the limit, and calls whose prefix does not fit the model's context."""

    rows_beyond_limit: int = 0
    rows_without_calls: int = 0
    calls_too_long: int = 0


class Measurements(msgspec.Struct, frozen=True):
    """The whole of measurements.json."""

    rows: tuple[Row, ...]
    has_baseline: bool
    canaries: tuple[Likelihood, ...] | None  # None: none were planted
    latency: tuple[Pair, ...]
    golden: bool  # a golden set was named and read
    skipped: Skipped = Skipped()
    seconds: dict[str, float] = {}
    version: Literal[1] = 1


def decode(text: bytes) -> Measurements:
    """Raises msgspec.ValidationError or msgspec.DecodeError when it is not what an evaluation writes."""
    return msgspec.json.decode(text, type=Measurements)
