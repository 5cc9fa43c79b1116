"""One tree of settings: defaults here, then a TOML file, then L07_ variables. An unknown name refuses to start."""

from l07.settings.data import Contrast, Filter, Match, SealRule, Track, TrainRule
from l07.settings.load import OWN_VARIABLES, PREFIX, Loaded, leaves, load_settings
from l07.settings.servers import Buffer, Bus
from l07.settings.training import Lora, Models, Training, Validation
from l07.settings.tree import Settings
from l07.settings.wire import Ingest, Join, Topics, Types

__all__ = [
    "OWN_VARIABLES",
    "PREFIX",
    "Buffer",
    "Bus",
    "Contrast",
    "Filter",
    "Ingest",
    "Join",
    "Loaded",
    "Lora",
    "Match",
    "Models",
    "SealRule",
    "Settings",
    "Topics",
    "Track",
    "TrainRule",
    "Training",
    "Types",
    "Validation",
    "leaves",
    "load_settings",
]
