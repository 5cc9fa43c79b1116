"""Settings of what comes in: topics, types, limits, the join."""

from pydantic import Field

from l07.settings.base import Group


class Topics(Group):
    traces: str = Field("execution.traces", description="agent runs")
    planning: str = Field("planning.traces", description="plans")
    scores: str = Field("evaluation.quality_scores", description="what the evaluation layer said of a run")
    reviews: str = Field("learning.reviews", description="what a person said of a run")
    events: str = Field("learning.events", description="what we emit")
    dlq: str = Field("learning.dlq", description="what could not be read")
    payloads: str = Field(
        "", description="where KServe's payload logger writes requests and responses; empty: they are not read"
    )

    @property
    def of_payloads(self) -> tuple[str, ...]:
        return (self.payloads,) if self.payloads else ()

    @property
    def read(self) -> tuple[str, ...]:
        """What the ingest reads; each once."""
        return tuple(dict.fromkeys((self.traces, self.planning, self.scores, *self.of_payloads)))


class Types(Group):
    trace: tuple[str, ...] = Field(
        ("execution.completed", "execution.trace_generated"),
        description="type names of a trace; a reverse-DNS prefix is allowed",
    )
    plan: tuple[str, ...] = Field(
        ("planning.completed", "planning.decision_recorded"), description="type names of a plan"
    )
    score: tuple[str, ...] = Field(
        ("evaluation.completed", "evaluation.quality_score_computed"), description="type names of a score"
    )
    review: tuple[str, ...] = Field(("review.recorded",), description="type names of a person's verdict")
    request: tuple[str, ...] = Field(
        ("org.kubeflow.serving.inference.request",),
        description="type names of what a model was asked, each ends with `.request`; read where `topics.payloads` is set",
    )
    response: tuple[str, ...] = Field(
        ("org.kubeflow.serving.inference.response",),
        description="type names of what it answered, each ends with `.response`; read where `topics.payloads` is set",
    )
    prefix: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*\.)*$",
        description="goes before the type name of each event that we emit, ends with a dot: `com.example.`",
    )


class Ingest(Group):
    max_event_bytes: int = Field(1_000_000, ge=1024, description="a longer value is a dead letter")
    max_event_age_s: int = Field(
        0, ge=0, description="0: no limit; else an event's time is at most this much before its record's"
    )
    slice_records: int = Field(500, ge=1, le=500, description="records a step; above 500 the script blocks the server")


class Join(Group):
    wait_s: int = Field(
        7 * 86400, ge=1, description="how long a half waits for its other half, by record time of the other inputs"
    )
    prefer_separate_s: int = Field(
        0, ge=0, description="above 0 a trace with a score of its own waits this long for a separate evaluation"
    )
