"""The tree of settings."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from l07.settings.base import Group
from l07.settings.data import Contrast, Curriculum, Erasure, Filter, Track
from l07.settings.group import Backpressure, Health
from l07.settings.servers import Buffer, Bus
from l07.settings.training import Models, Training, Validation
from l07.settings.wire import Ingest, Join, Topics, Types


class Settings(Group):
    """Everything that can be set."""

    data_dir: Path = Field(Path(".l07"), description="holds everything")
    seed: int = Field(7, ge=0, description="of splits, sampling and training")
    topics: Topics = Field(default_factory=Topics)
    types: Types = Field(default_factory=Types)
    bus: Bus = Field(default_factory=Bus)
    buffer: Buffer = Field(default_factory=Buffer)
    ingest: Ingest = Field(default_factory=Ingest)
    join: Join = Field(default_factory=Join)
    filter: Filter = Field(default_factory=Filter)
    contrast: Contrast = Field(default_factory=Contrast)
    curriculum: Curriculum = Field(default_factory=Curriculum)
    erasure: Erasure = Field(default_factory=Erasure)
    tracks: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], Track] = Field(
        default_factory=lambda: {"default": Track()}
    )
    backpressure: Backpressure = Field(default_factory=Backpressure)
    health: Health = Field(default_factory=Health)
    training: Training = Field(default_factory=Training)
    validation: Validation = Field(default_factory=Validation)
    models: Models = Field(default_factory=Models)
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="of the JSON log lines on stderr"
    )

    def track(self, name: str) -> Track:
        """Of a track that is not named: the defaults."""
        return self.tracks.get(name, Track())
