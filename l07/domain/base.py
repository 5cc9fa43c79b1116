"""How the tiny bases are made, and which training settings apply: asked for, recommended by the base, or ours."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l07.domain.job import JobConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tiny base is made; the same recipe on the same code and libraries gives the same base. `parent` is trained on further."""

    name: str
    parent: str | None
    seed: int
    examples: int  # generated runs of the mixed policy; 0: none

    def folder(self, maker: str) -> str:
        """Where it is kept: the name and 12 digits of a digest over the recipe and `maker`, which stands for code and libraries."""
        text = json.dumps([self.name, self.parent, self.seed, self.examples, maker])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


RECIPES: Mapping[str, Recipe] = {
    "tiny-base": Recipe("tiny-base", parent=None, seed=0, examples=0),
    "tiny-policy": Recipe("tiny-policy", parent="tiny-base", seed=0, examples=400),
}


def effective_config(asked: Mapping[str, Any], recommended: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A job's config: settings where set, else what the base recommends, else our defaults; and for each dotted name which it was."""
    config = JobConfig.from_document(asked, recommended).document()
    names = [name for name in config if name != "lora"] + [f"lora.{name}" for name in config["lora"]]
    return config, {name: _origin(name, asked, recommended) for name in names}


def setting(config: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name, such as `lora.rank`; None where it or its group is not set."""
    group, _, leaf = name.rpartition(".")
    return ((config.get(group) or {}) if group else config).get(leaf)


def _origin(name: str, asked: Mapping[str, Any], recommended: Mapping[str, Any]) -> str:
    for origin, given in (("settings", asked), ("base", recommended)):
        if setting(given, name) is not None:
            return origin
    return "default"
