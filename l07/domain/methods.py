"""Training methods by name: what each learns from, and the options that are its own. A method is a line here and a file of
the same name in `l07/training/`; CONTRIBUTING.md has the recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Feed = Literal["rows", "pairs", "labels", "prompts"]


@dataclass(frozen=True, slots=True)
class Option:
    """A number that one method has and others have not; `least` and `most` are allowed."""

    default: float
    least: float
    most: float
    about: str
    whole: bool = False  # no fractions


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """`feed`: of the dataset's version, good runs, preference pairs, runs with a thumb up or down, or only how runs begin."""

    feed: Feed
    about: str
    options: Mapping[str, Option] = field(default_factory=dict)


_RATE = "times `training.learning_rate`, which is meant for supervised fine-tuning"
_BETA = "how dear it is to move away from the base; smaller moves further"

METHODS: Mapping[str, MethodSpec] = {
    "sft": MethodSpec(
        "rows",
        "supervised fine-tuning on good runs",
        {
            "curriculum": Option(
                0, 0, 2, "order of the rows: 0 by chance, 1 the version's curriculum, 2 its shuffled arm", whole=True
            )
        },
    ),
    "dpo": MethodSpec(
        "pairs",
        "direct preference optimisation on pairs of runs",
        {
            "beta": Option(0.1, 1e-3, 10, _BETA),
            "rate_scale": Option(0.5, 1e-4, 10, _RATE),
            "sft_weight": Option(0.2, 0, 10, "weight of the chosen runs' own likelihood beside the preference"),
        },
    ),
    "kto": MethodSpec(
        "labels",
        "Kahneman-Tversky optimisation on single runs with a thumb up or down",
        {
            "beta": Option(0.1, 1e-3, 10, _BETA),
            "rate_scale": Option(0.5, 1e-4, 10, _RATE),
            "desirable_weight": Option(1, 0, 10, "weight of the losses of runs to imitate"),
            "undesirable_weight": Option(1, 0, 10, "weight of the losses of runs to avoid"),
        },
    ),
    "distill": MethodSpec(
        "rows",
        "distillation: a teacher's answers, and how sure it is of the student's own",
        {
            "on_policy": Option(0.5, 0, 1, "share of batches whose answers the student writes itself"),
            "beta": Option(0.5, 0, 1, "divergence from the teacher: 0 its KL, 1 the student's, Jensen-Shannon between"),
            "soft_weight": Option(1, 0, 10, "weight of the divergence"),
            "hard_weight": Option(0, 0, 10, "weight of the likelihood of answers that the student did not write"),
            "teacher_answers": Option(
                1, 0, 1, "those are: 1 the teacher's, 0 the turns that were recorded", whole=True
            ),
            "rate_scale": Option(0.5, 1e-4, 10, _RATE),
            "steps": Option(120, 1, 1_000_000, "steps at most", whole=True),
            "completion_tokens": Option(48, 1, 4096, "tokens of an answer at most", whole=True),
            "temperature": Option(1, 0.1, 2, "of the student's sampling"),
        },
    ),
}


def check_method(name: str) -> MethodSpec:
    """Raises ValueError for a name that is not in the table."""
    if name not in METHODS:
        raise ValueError(f"no training method {name}; there are {', '.join(METHODS)}")
    return METHODS[name]


def effective_options(name: str, asked: Mapping[str, float]) -> dict[str, float]:
    """The method's options, `asked` where it says so.

    Raises:
        ValueError: no such method, an option that it does not have, one out of its bounds, or a fraction of one that has none."""
    spec = check_method(name)
    unknown = sorted(asked.keys() - spec.options.keys())
    if unknown:
        known = ", ".join(spec.options) or "none"
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {known}")
    out = {option: float(asked.get(option, about.default)) for option, about in spec.options.items()}
    wrong = [o for o, value in out.items() if not spec.options[o].least <= value <= spec.options[o].most]
    if wrong:
        bounds = ", ".join(f"{o}: {spec.options[o].least:g} to {spec.options[o].most:g}" for o in wrong)
        raise ValueError(f"{name}: out of range: {bounds}")
    broken = [o for o, value in out.items() if spec.options[o].whole and not value.is_integer()]
    if broken:
        raise ValueError(f"{name}: {', '.join(f'{o} is {out[o]:g}' for o in broken)}; only whole numbers are allowed")
    return out
