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
    """`feed`: of the dataset's version, good runs, preference pairs, runs with a thumb up or down, or only how runs begin.
    `makes`: an agent's model, or one that scores what an agent does, which is never released."""

    feed: Feed
    about: str
    options: Mapping[str, Option] = field(default_factory=dict)
    makes: Literal["agent", "scorer"] = "agent"


_RATE = "times `training.learning_rate`, which is meant for supervised fine-tuning"
_BETA = "how dear it is to move away from the base; smaller moves further"


def _policy(*, beta: float, rate_scale: float = 1) -> Mapping[str, Option]:
    """Options of a method that asks a policy and rewards what it writes."""
    return {
        "beta": Option(
            beta, 1e-4, 10, "how dear it is to move away from the base, by KL; there is no policy without it"
        ),
        "rate_scale": Option(rate_scale, 1e-4, 10, _RATE),
        "steps": Option(60, 1, 100_000, "steps at most; one step asks `training.batch_size` prompts"),
        "generations": Option(8, 2, 64, "answers to one prompt, which are compared with each other"),
        "completion_tokens": Option(48, 1, 4096, "tokens of an answer at most"),
        "temperature": Option(
            0.7, 0.1, 2, "of the sampling; a policy is used at its likeliest answers, and learns from those near them"
        ),
        "reward_weight": Option(1, 0, 100, "weight of the reward model's score"),
        "valid_weight": Option(
            2, 0, 100, "what a turn costs that is no call to an offered tool, or does not end in time"
        ),
        "most_kl": Option(1, 1e-3, 100, "KL to the base at which a run is stopped, nats a token"),
        "least_entropy": Option(0.005, 0, 10, "entropy at which a run is stopped, nats a token"),
        "least_valid": Option(
            0.7, 0, 1, "share of valid calls at which a run is stopped, as a multiple of the first steps'"
        ),
        "most_drift": Option(
            2, 1.01, 100, "times the first steps' mean length, or its inverse, at which a run is stopped"
        ),
    }


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
            "sft_weight": Option(1, 0, 10, "weight of the chosen runs' own likelihood beside the preference"),
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
            "rate_scale": Option(1, 1e-4, 10, _RATE),
            "steps": Option(120, 1, 1_000_000, "steps at most", whole=True),
            "completion_tokens": Option(48, 1, 4096, "tokens of an answer at most", whole=True),
            "temperature": Option(1, 0.1, 2, "of the student's sampling"),
        },
    ),
    "reward": MethodSpec(
        "pairs",
        "a reward model, from pairs of turns",
        {
            "rate_scale": Option(0.5, 1e-4, 10, _RATE),
            "least_steps": Option(
                1500,
                1,
                1_000_000,
                "steps at least: few pairs are passed through more often than `training.epochs`",
                whole=True,
            ),
            "own_answers": Option(
                3,
                0,
                8,
                "pairs of a recorded turn and something else, said by the base or made of the run, to each pair of runs",
            ),
            "completion_tokens": Option(48, 1, 4096, "tokens of what the base says at most", whole=True),
            "language_weight": Option(
                1,
                0,
                10,
                "weight of the chosen turn's likelihood, by which a base of few pairs keeps and learns what a turn says",
            ),
            "center": Option(0.01, 0, 1, "how strongly the scores of a pair are drawn around 0"),
            "margin": Option(
                0, 0, 10, "how far apart a pair's scores should be, for each unit of its rewards' difference"
            ),
        },
        "scorer",
    ),
    "rloo": MethodSpec("prompts", "a policy by REINFORCE with a leave-one-out baseline", _policy(beta=0.05)),
    "grpo": MethodSpec("prompts", "a policy by group-relative policy optimisation", _policy(beta=0.05)),
    "ppo": MethodSpec(
        "prompts",
        "a policy by proximal policy optimisation, with a value head",
        {
            **_policy(beta=0.05, rate_scale=0.4),
            "epochs": Option(2, 1, 64, "times that a step's answers are learned from", whole=True),
            "minibatches": Option(4, 1, 64, "parts of a step's answers, each a step of the optimiser", whole=True),
            "clip": Option(0.2, 0.01, 1, "how far a token's ratio may move in a step to be paid for it"),
            "value_clip": Option(0.2, 0.01, 100, "how far a token's value may move in a step"),
            "value_weight": Option(0.5, 0, 10, "weight of the value head's loss"),
            "gae_lambda": Option(0.95, 0, 1, "0: an advantage is told by the next value alone, 1: by the whole answer"),
            "target_kl": Option(0.2, 1e-4, 100, "KL to the base that beta is moved to, nats a token"),
            "kl_rate": Option(0.1, 0, 1, "how fast beta follows; 0: it stays"),
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
