"""Settings of a consumer as a member of its group: what it says of its health, and what it does when memory runs short."""

from pydantic import Field, model_validator

from l07.settings.base import Fraction, Group


class Health(Group):
    host: str = Field(
        "127.0.0.1", description="where `/healthz`, `/readyz` and `/metrics` listen; 0.0.0.0 in a container"
    )
    port: int = Field(0, ge=0, le=65535, description="0: nothing listens")
    stall_s: float = Field(
        60.0,
        gt=0,
        description="a consumer that has not come round for this long, or stands still with lag, is not alive",
    )
    look_s: float = Field(2.0, gt=0, description="how often lag, memory and the buffer's counters are looked at")
    grace_s: float = Field(25.0, ge=0, description="what a consumer has left after SIGTERM; then it is cut off")


class Backpressure(Group):
    """Shares of the buffer's memory. What is read in between is decided anew at each look."""

    pause_at: Fraction = Field(0.80, description="from here on the inputs that are ahead of the others wait")
    resume_at: Fraction = Field(0.75, description="below this all inputs are read again")
    stop_at: Fraction = Field(0.95, description="from here on what is ready is sealed and nothing is read")
    limit_bytes: int = Field(
        0, ge=0, description="the buffer's memory where its server has no maxmemory; 0: no limit is known"
    )
    patience_s: float = Field(
        30.0, gt=0, description="an input that does not move for this long (nobody reads it) holds the others no more"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Backpressure":
        if not self.resume_at <= self.pause_at <= self.stop_at:
            raise ValueError("resume_at <= pause_at <= stop_at does not hold")
        return self
