"""Settings of training, validation and models."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from l07.settings.base import Fraction, Group


class Lora(Group):
    rank: int | None = Field(None, ge=1, description="unset: what the base recommends, else 16")
    alpha: int | None = Field(None, ge=1, description="unset: what the base recommends, else 32")
    dropout: Fraction | None = Field(None, description="unset: what the base recommends, else 0.05")
    embeddings: bool | None = Field(
        None, description="train the embeddings too; unset: what the base recommends, else false"
    )
    kind: Literal["lora", "dora", "rslora"] | None = Field(
        None, description="dora: length and direction apart; rslora: scaled by the root of the rank; unset: lora"
    )


class Training(Group):
    learning_rate: float | None = Field(None, gt=0, description="unset: what the base recommends, else 2e-4")
    batch_size: int | None = Field(None, ge=1, description="unset: what the base recommends, else 16")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="rows of a step that are learned from at a time, a divisor of its rows: fewer take less memory; unset: all",
    )
    epochs: float | None = Field(None, gt=0, description="unset: what the base recommends, else 3")
    max_length: int | None = Field(
        None,
        ge=16,
        description="tokens of a row at most; a longer one is cut after a whole turn, or left out; unset: the base's context, at most 2,048",
    )
    max_steps: int | None = Field(None, ge=1, description="optimiser steps at most; unset: no bound")
    clip: float | None = Field(
        None, gt=0, description="largest norm of a gradient; unset: what the base recommends, else 1.0"
    )
    early_stop: int | None = Field(
        None,
        ge=1,
        description="looks at the validation split without improvement; unset: what the base recommends, else 2",
    )
    adapter: Literal["lora", "qlora", "full"] | None = Field(
        None,
        description="qlora: over a base in 4 bits, needs a CUDA GPU and bitsandbytes; full: all weights, only `sft`; unset: lora",
    )
    lora: Lora = Field(default_factory=Lora)
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU where there is one")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto: bf16 on a CUDA GPU since Ampere, else fp32; fp16 needs a CUDA GPU since Volta. Weights that move stay in fp32",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto",
        description="auto: flash_attention_2 where flash-attn is installed and the GPU and precision allow it, else sdpa",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="activations are computed again, not kept; auto: where the job would not fit otherwise"
    )
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: off")
    packing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="rows of a step behind each other in one sequence, none sees another; only `sft`; auto: on, unless the base would let them",
    )
    threads: int = Field(0, ge=0, description="CPU threads of the child; 0: all cores. Part of the job's id")
    launcher: Literal["child", "torchrun"] = Field(
        "child", description="one process, or `processes` on each of `nodes` machines that share weights and batches"
    )
    processes: int = Field(1, ge=1, description="of a job on each machine, with `torchrun`; as many as it has GPUs")
    nodes: int = Field(1, ge=1, description="machines of a job, with `torchrun`; all see the data folder")
    rendezvous: str = Field(
        "", description="HOST:PORT of the trainer's machine, at which the others find it; needed with several nodes"
    )
    timeout_s: float = Field(
        86400, gt=0, description="an attempt that takes longer is ended; the next one goes on from its last checkpoint"
    )
    concurrency: int = Field(
        1, ge=1, le=64, description="jobs at a time of one trainer, each of another track; set `training.threads` too"
    )
    group_concurrency: int = Field(0, ge=0, description="jobs at a time of all trainers together; 0: no limit")
    attempts: int = Field(
        3, ge=1, le=10, description="a job that was killed, ran out of memory or time, or met NaN begins this often"
    )
    checkpoint_s: float | None = Field(
        120.0, gt=0, description="a checkpoint this often, at the end of a step; unset: none for that reason"
    )
    checkpoint_steps: int | None = Field(
        None, ge=1, description="a checkpoint every so many steps; unset: none for that reason"
    )
    grace_s: float = Field(
        20.0,
        gt=0,
        description="a child that is asked to leave has this long for its checkpoint, then it is killed; less than "
        "health.grace_s, so that the trainer can still say so",
    )
    lease_renew_s: float = Field(
        30.0,
        gt=0,
        description="a trainer says this often that it is at its job; silent for three times as long, it has lost it",
    )
    budget_s: float | None = Field(
        None, gt=0, description="seconds that a job may take, all attempts together; unset: no bound"
    )
    budget_cost: float | None = Field(
        None, gt=0, description="the same in money, at `training.price_per_hour`; unset: no bound"
    )
    month_budget_s: float | None = Field(
        None, gt=0, description="seconds that the jobs of a track may take in a calendar month (UTC); unset: no bound"
    )
    month_budget_cost: float | None = Field(None, gt=0, description="the same in money; unset: no bound")
    price_per_hour: float | None = Field(
        None, ge=0, description="what an hour of the trainer's machine costs; unset: seconds are told, and no money"
    )
    currency: str = Field("USD", min_length=1, max_length=8, description="of the price and of budgets")
    reporters: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        (), description="trackers that are told each attempt; each is an extra: `pip install 'l07[mlflow]'`"
    )
    mlflow_uri: str = Field("", description="MLflow's server, such as http://HOST:PORT; empty: MLFLOW_TRACKING_URI")
    wandb_mode: Literal["offline", "online"] = Field(
        "offline", description="offline: into the data folder, for `wandb sync`; online needs WANDB_API_KEY"
    )
    canaries: int = Field(
        8,
        ge=0,
        le=64,
        description="planted strings whose memorisation is measured; 0: the safety stage is inconclusive",
    )

    @property
    def ranks(self) -> int:
        """Processes that train one job."""
        return self.processes * self.nodes if self.launcher == "torchrun" else 1

    @model_validator(mode="after")
    def _many_have_a_launcher(self) -> Self:
        if self.launcher == "child" and self.processes * self.nodes > 1:
            raise ValueError("training.processes and training.nodes need training.launcher = torchrun")
        if self.nodes > 1 and not re.fullmatch(r"[^\s:]+:\d{1,5}", self.rendezvous):
            raise ValueError("training.nodes above 1 needs training.rendezvous, HOST:PORT of the trainer's machine")
        return self

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Self:
        if (self.budget_cost or self.month_budget_cost) and not self.price_per_hour:
            raise ValueError("a budget in money needs training.price_per_hour, above 0")
        return self


class Validation(Group):
    rows: int = Field(200, ge=1, description="held-out rows that are generated at most")
    calls_per_row: int = Field(4, ge=1, description="tool calls of a row that are scored at most")
    resamples: int = Field(2000, ge=200, description="resamples of a bootstrap")
    latency_pairs: int = Field(30, ge=5, description="interleaved generations a side")
    timeout_s: float = Field(3600, gt=0, description="an evaluation that takes longer fails")


class Models(Group):
    aliases: dict[str, str] = Field(
        {}, description="name that people use -> base that is here; each use is printed and recorded"
    )
    cache_dir: str = Field("", description="where tiny bases are kept; empty: the data folder")
