"""A training job: what it will do, where it stands, which moves are allowed, and an id that follows from its inputs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from l07.domain.hardware import CHOICES
from l07.errors import JobMoveRefused


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "PENDING"
    INITIALIZING = "INITIALIZING"
    PREPARING_DATA = "PREPARING_DATA"
    TRAINING = "TRAINING"
    VALIDATING = "VALIDATING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    RETRYING = "RETRYING"


_S = JobState
_ENDS = frozenset({_S.FAILED, _S.CANCELLED})
_AWAY = _ENDS | {_S.RETRYING, _S.PENDING}  # from any state of work; PENDING: preempted, no attempt is counted

NEXT_STATES: Mapping[JobState, frozenset[JobState]] = {
    _S.PENDING: _ENDS | {_S.INITIALIZING},
    _S.INITIALIZING: _AWAY | {_S.PREPARING_DATA},
    _S.PREPARING_DATA: _AWAY | {_S.TRAINING},
    _S.TRAINING: _AWAY | {_S.VALIDATING},
    _S.VALIDATING: _AWAY | {_S.COMPLETED},
    _S.RETRYING: _ENDS | {_S.INITIALIZING, _S.PENDING},
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}


KINDS = ("lora", "dora", "rslora")
ADAPTERS = ("lora", "qlora", "full")


@dataclass(frozen=True, slots=True)
class LoRAConfig:
    """The adapter: low-rank updates of all linear layers.

    `kind`: dora learns each column's length apart from its direction; rslora divides by the root of the rank, not by the rank."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05  # 0-1
    embeddings: bool = False  # train the embeddings too; a tiny vocabulary needs it
    kind: str = "lora"


@dataclass(frozen=True, slots=True)
class JobConfig:
    """How to train. None: `max_length` is the base's context, at most 2,048; `max_steps` has no bound.

    `adapter`: lora; qlora, over a base in 4 bits; full, no adapter, all weights move and the whole model is the result."""

    learning_rate: float = 2e-4
    batch_size: int = 16
    num_epochs: float = 3
    lora_config: LoRAConfig = field(default_factory=LoRAConfig)
    max_length: int | None = None  # tokens; a longer row is cut after a whole turn, or left out
    max_steps: int | None = None
    clip: float = 1.0  # largest norm of a gradient
    early_stop: int = 2  # looks at the validation split without improvement
    adapter: str = "lora"
    device: str = "auto"  # from here on as in `domain/hardware.py`
    precision: str = "auto"
    attention: str = "auto"
    gradient_checkpointing: str = "auto"
    compile: str = "auto"
    micro_batch_size: int | None = None  # rows of a step that are learned from at a time; None: all
    packing: str = "auto"  # rows of a step behind each other; none sees another

    def __post_init__(self) -> None:
        lora = self.lora_config
        bounds = {
            "learning_rate": self.learning_rate > 0, "batch_size": self.batch_size >= 1, "num_epochs": self.num_epochs > 0,
            "max_length": self.max_length is None or self.max_length >= 16, "max_steps": self.max_steps is None or self.max_steps >= 1,
            "clip": self.clip > 0, "early_stop": self.early_stop >= 1,
            "rank": lora.rank >= 1, "alpha": lora.alpha >= 1, "dropout": 0 <= lora.dropout < 1,
            "micro_batch_size": self.micro_batch_size is None or (
                1 <= self.micro_batch_size <= self.batch_size and self.batch_size % self.micro_batch_size == 0
            ),
            "kind": lora.kind in KINDS, "adapter": self.adapter in ADAPTERS,
            **{name: getattr(self, name) in allowed for name, allowed in CHOICES.items()},
        }  # fmt: skip
        wrong = [name for name, fits in bounds.items() if not fits]
        if wrong:
            raise ValueError(f"out of range: {', '.join(wrong)} in {self}")

    def document(self) -> dict[str, Any]:
        """The `config` of a job.json; `from_document` reads it back. What came later is in it only where it is not the
        default, so that the ids of earlier jobs hold."""
        lora = self.lora_config
        kind = {"kind": lora.kind} if lora.kind != "lora" else {}
        return {
            "learning_rate": self.learning_rate, "batch_size": self.batch_size, "epochs": self.num_epochs, "max_length": self.max_length,
            "max_steps": self.max_steps, "clip": self.clip, "early_stop": self.early_stop,
            "lora": {"rank": lora.rank, "alpha": lora.alpha, "dropout": lora.dropout, "embeddings": lora.embeddings, **kind},
            **({"adapter": self.adapter} if self.adapter != "lora" else {}),
            **({"micro_batch_size": self.micro_batch_size} if self.micro_batch_size else {}),
            **{name: value for name in CHOICES if (value := getattr(self, name)) != "auto"},
        }  # fmt: skip

    @classmethod
    def from_document(cls, asked: Mapping[str, Any], recommended: Mapping[str, Any] | None = None) -> "JobConfig":
        """`asked` where it is set, else `recommended`, else our defaults. An absent name and null are the same.

        Raises:
            ValueError: a value out of range."""
        merged = {**_given(recommended or {}), **_given(asked)}
        lora = {**_given((recommended or {}).get("lora") or {}), **_given(asked.get("lora") or {})}
        names = {"epochs": "num_epochs"}
        known = {
            names.get(name, name): value
            for name, value in merged.items()
            if names.get(name, name) in cls.__slots__ and name != "lora_config"
        }
        return cls(
            lora_config=LoRAConfig(**{name: value for name, value in lora.items() if name in LoRAConfig.__slots__}),
            **known,
        )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and name != "lora"}


def job_id(
    *,
    dataset_digest: str,
    config: JobConfig | Mapping[str, Any],
    base_digest: str,
    seed: int,
    threads: int,
    versions: Mapping[str, str],
    method: str = "sft",
    canaries: int = 0,
    options: Mapping[str, float] | None = None,
    own: Mapping[str, Any] | None = None,
    gpus: Sequence[str] = (),
) -> str:
    """A job's id follows from all that its weights follow from, so the same job asked for twice is one job.

    `own`: what the method is told beside its options, such as the rules of preference pairs.
    `threads` and `versions` count: another thread count or library version sums in another order and gives other weights,
    and so do `gpus`, models of those that the job may use: what the settings leave open is chosen by them."""
    document = config.document() if isinstance(config, JobConfig) else dict(config)
    parts = [method, dataset_digest, document, base_digest, seed, threads, dict(versions), canaries]
    parts += [dict(part) for part in (options, own) if part]
    parts += [{"gpus": list(gpus)}] if gpus else []
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"job-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training run of one dataset version, attempts included."""

    job_id: str
    track: str
    dataset: str  # "<track>:<version>"
    base_model: str
    config: JobConfig = field(default_factory=JobConfig)
    state: JobState = JobState.PENDING
    attempt: int = 0  # attempts begun
    error_code: str | None = None
    error_message: str | None = None
    output_model_id: str | None = None  # "<name>:<version>" once registered

    @property
    def status(self) -> JobState:
        """`state`, by the name that the seed's users know."""
        return self.state

    def is_terminal(self) -> bool:
        return not NEXT_STATES[self.state]

    def move(self, to: JobState, **changes: Any) -> "TrainingJob":
        """This job in its next state; INITIALIZING counts an attempt, PENDING takes the one that was preempted back.

        Raises:
            JobMoveRefused: E7720, the table has no such move."""
        if to not in NEXT_STATES[self.state]:
            allowed = ", ".join(sorted(NEXT_STATES[self.state])) or "nothing"
            raise JobMoveRefused(
                f"job {self.job_id} cannot go from {self.state} to {to}; it can go to {allowed}", job_id=self.job_id
            )
        counted = self.attempt + (to is JobState.INITIALIZING)
        if to is JobState.PENDING and self.state is not JobState.RETRYING:
            counted -= 1
        return replace(self, state=to, attempt=counted, **changes)
