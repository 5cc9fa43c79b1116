"""Trackers that a trainer tells its jobs to, as the settings name them; each library is an extra of its own."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import NamedTuple

from l07.errors import ReporterUnusable
from l07.ports import Reporter
from l07.settings import Settings


class Brand(NamedTuple):
    """What must be importable, and where the reporter is. The extra has the brand's name."""

    library: str
    module: str


BRANDS: Mapping[str, Brand] = {
    "tensorboard": Brand("tensorboard", "l07.backends.reporters.tensorboard"),
    "mlflow": Brand("mlflow", "l07.backends.reporters.mlflow"),
    "wandb": Brand("wandb", "l07.backends.reporters.wandb"),
}


def reporters(settings: Settings) -> Mapping[str, Callable[[], Reporter]]:
    """By name, what makes a reporter for one attempt of a job.

    Looked at once, at the start, so that hours of training are not told to nobody.

    Raises:
        ReporterUnusable: E7731, a library is not installed, or a tracker is not set up."""
    found: dict[str, Callable[[], Reporter]] = {}
    for name in dict.fromkeys(settings.training.reporters):
        brand = BRANDS[name]
        if importlib.util.find_spec(brand.library) is None:
            raise ReporterUnusable(
                f"training.reporters has {name}, and {brand.library} is not installed: pip install 'l07[{name}]'",
                reporter=name,
            )
        opened: Callable[[], Reporter] = importlib.import_module(brand.module).opened(settings)
        found[name] = opened
    return found
