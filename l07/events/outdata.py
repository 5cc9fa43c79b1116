"""`data` of each event that we emit, a struct a type. A test holds docs/wire.md and the schemas against these."""

from typing import Annotated, Any, Literal

import msgspec

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]  # RFC 3339
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Severity = Literal["warning", "error"]  # warning: the work goes on, somebody should look; error: something stopped


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`data` of an event. None is absent, and is not written."""


class BatchSealedData(Data, frozen=True, kw_only=True):
    track: str
    batch_id: str
    cause: str  # count, age or idle
    keys: list[str]  # natural keys, in the order in which the runs became complete
    keys_left_out: int | None = (
        None  # how many, where the topic does not take an event of that size; `keys` is empty then
    )
    counts: dict[str, int]  # by decision: ACCEPT, REJECT
    first: dict[str, int]  # "topic:partition" -> smallest and largest offset
    last: dict[str, int]


class DatasetCreatedData(Data, frozen=True, kw_only=True):
    dataset: str
    version: str
    digest: str
    uri: str
    splits: dict[str, int]
    domains: dict[str, int]
    difficulties: dict[str, int]
    task_types: dict[str, int]
    score_mean: float | None = None  # 0-100
    score_deviation: float | None = None
    dropped: dict[str, int]  # reason -> rows
    parent: str | None = None
    added: int
    removed: int
    batches: list[str] | None = None
    groups: dict[str, int] | None = None
    tables: dict[str, int] | None = None  # contrast, review -> rows
    own_share: Share | None = None  # of the rows in the splits: what released models of ours did


class TrainingStartedData(Data, frozen=True, kw_only=True):
    job_id: str
    track: str
    method: str
    base_model: str
    base_digest: str | None = None
    asked_base_model: str | None = None  # the name in the settings, where an alias led to the base
    dataset_version: str
    dataset_digest: str
    config: dict[str, Any]
    origins: dict[str, Any] | None = None  # where each value of config came from
    attempt: int
    resumed_from: int | None = None  # the step of the checkpoint that it goes on from
    changes: list[dict[str, Any]] | None = None  # what it does otherwise than `config` says, each with the code of why


class TrainingProgressData(Data, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    step: int
    steps: int
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None


class TrainingCompletedData(Data, frozen=True, kw_only=True):
    job_id: str
    track: str
    dataset_version: str
    train_rows: int
    rows: dict[str, int]
    losses: list[dict[str, Any]]  # {"step", "loss", "learning_rate", "grad_norm"}
    eval_losses: list[dict[str, Any]]
    train_loss: float | None = None
    steps: int
    tokens: int | None = None
    seconds: float | None = None
    spent_s: float | None = None  # of all attempts, from the child's start to its end
    cost: float | None = None  # spent_s at the price of the settings; absent where none is set
    currency: str | None = None
    energy_j: float | None = (
        None  # of processors and GPUs meanwhile, whatever ran beside it; absent where not to be read
    )
    method: str | None = None
    peak_rss_bytes: int | None = None
    digest: str
    attempt: int | None = None
    resumed_from: int | None = None  # as in training.started, by the attempt that came to the end
    changes: list[dict[str, Any]] | None = None
    refused: list[dict[str, Any]] | None = None  # checkpoints that were damaged: {"step", "code", "why"}


class TrainingFailedData(Data, frozen=True, kw_only=True):
    job_id: str
    track: str
    dataset_version: str | None = None
    code: str
    message: str
    attempts: int
    again: bool  # whether it will be tried again
    spent_s: float | None = None
    cost: float | None = None
    currency: str | None = None
    energy_j: float | None = None


class ModelRegisteredData(Data, frozen=True, kw_only=True):
    model: str
    version: str
    digest: str
    uri: str
    format: str
    base_model: str
    rank: int | None = None
    lineage: dict[str, Any]


class StageData(Data, frozen=True, kw_only=True):
    """One stage of a validation. Estimate and interval are in the unit of the test; None: too little was measured."""

    stage: str
    result: str  # PASS, FAIL or INCONCLUSIVE
    n: int
    estimate: float | None = None
    interval: list[float] | None = None
    threshold: float | None = None
    test: str | None = None
    unit: str | None = None
    needed_n: int | None = None
    check: str | None = None
    detail: str | None = None


class ModelValidatedData(Data, frozen=True, kw_only=True):
    model: str
    version: str
    digest: str
    verdict: str  # DEPLOY, REVIEW or REJECT
    stages: list[StageData]
    report: str  # uri
    report_digest: str | None = None
    baseline: str | None = None
    reasons: list[str] | None = None
    needed_n: int | None = None
    seconds: float | None = None


class ModelStageChangedData(Data, frozen=True, kw_only=True):
    model: str
    version: str
    digest: str | None = None
    from_: str = msgspec.field(name="from")
    to: str
    by: str
    reason: str
    approvals: list[str] | None = None
    previous: str | None = None  # the version that held the stage before


class EvidenceData(Data, frozen=True, kw_only=True):
    """What was measured before a model was withdrawn. None: it was not measured."""

    test: str
    n: int
    estimate: float | None = None
    interval: list[float] | None = None
    threshold: float | None = None
    unit: str | None = None


class ModelRolledBackData(Data, frozen=True, kw_only=True):
    model: str
    version: str  # the one that is withdrawn
    digest: str | None = None
    by: str
    reason: str
    evidence: EvidenceData | None = None  # absent where a person decided without a test
    restored: str | None = None  # the version that serves again; absent: there was none before


class PatternFoundData(Data, frozen=True, kw_only=True):
    track: str
    pattern: str  # its name; what it looks like stands in the report, for a goal may shine through
    dataset_version: str | None = None
    test: str
    effect: float  # good runs that have it, less bad runs of the same tasks that have it
    unit: str
    interval: list[float]
    q_value: Share
    n: int
    counter_examples: list[str]  # natural keys of runs that have it and are bad
    report: str | None = None  # uri


class StrategyRecommendedData(Data, frozen=True, kw_only=True):
    track: str
    strategy: str
    instead_of: str | None = None
    dataset_version: str | None = None
    test: str
    effect: float  # what the strategy adds to the score of the same task
    unit: str
    interval: list[float]
    q_value: Share
    n: int
    counter_examples: list[str]  # natural keys of runs that followed it and are bad
    report: str | None = None  # uri


class DatasetRevokedData(Data, frozen=True, kw_only=True):
    dataset: str
    version: str
    digest: str
    cause: str  # erasure or recall, never whose
    affected: list[str]  # subjects of what was made of it: models/<name>:<version>, reports/<name>
    due: Instant  # by then its files are gone
    rows: int | None = None  # rows that had to leave
    successor: str | None = None  # the version without them


class ModelTaintedData(Data, frozen=True, kw_only=True):
    model: str
    version: str
    digest: str
    cause: str  # erasure or recall, never whose
    affected: list[
        str
    ]  # subjects of the revoked datasets that it was trained on, or of the tainted models that it was trained upon
    due: Instant  # by then it is trained anew or withdrawn
    stage: str | None = None  # where it stands now


class LearningAlertData(Data, frozen=True, kw_only=True):
    code: str  # of the error or guard, E7xxx
    severity: Severity
    stopped: str  # what stopped: a partition, a job, a consumer; "nothing" where the work goes on
    todo: str  # what a person should do
