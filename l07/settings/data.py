"""Settings of the data: gates, duplicates, tracks and their triggers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from l07.domain.methods import effective_options
from l07.domain.preference import PreferenceRules
from l07.settings.base import Fraction, Group


class Completeness(Group):
    enabled: bool = Field(
        True,
        description="runs that nothing can be learned from are rejected; off: only what no table can hold is (no assistant turn, a malformed call)",
    )


class Duplicates(Group):
    exact: bool = Field(True, description="of equal conversations the better-scored stays")
    near: bool = Field(
        True, description="within a task, of near duplicates too; groups and splits are made in any case"
    )


class Outliers(Group):
    enabled: bool = Field(True, description="runs built unlike the others of their source go to review")


class Doubt(Group):
    enabled: bool = Field(
        True, description="runs that look spoilt, and scores that look wrong, go to review; see docs/filter.md"
    )
    run_share: Fraction = Field(0.14, description="of the new accepted runs of a source at most, as doubtful runs")
    label_share: Fraction = Field(0.04, description="of its accepted, and of its rejected runs, as doubtful labels")


class Injection(Group):
    enabled: bool = Field(
        True, description="runs that did what a tool's output told them to are quarantined; that one was read is noted"
    )
    threshold: Fraction = Field(
        0.45, description="score of a hijacked run, 0-1, from which it is quarantined; see docs/filter.md"
    )
    scanner: str = Field(
        "",
        description="one more detector, from a tool's output to 0-1: an entry point of l07.injection_scanners, or package.module:function",
    )


class Scrub(Group):
    secrets: Literal["scrub", "off"] = Field(
        "scrub", description="scrub: placeholders in the whole row; off: not looked for"
    )
    personal: Literal["scrub", "keep_arguments", "keep", "off"] = Field(
        "keep_arguments",
        description="keep_arguments: scrubbed, except for values that the goal says or a call passes; scrub: those too; "
        "keep: counted only; off: not looked for",
    )


class Filter(Group):
    quality_threshold: float = Field(70.0, ge=0, le=100, description="gate: smallest quality score, 0-100")
    confidence_threshold: Fraction = Field(0.6, description="gate: smallest confidence, 0-1")
    max_outlier_probability: Fraction = Field(
        0.15, description="rank within (source, domain); REVIEW only together with a robust z above outlier_z"
    )
    outlier_z: float = Field(3.5, gt=0, description="robust z above which an outlier goes to review")
    near_duplicate_similarity: Fraction = Field(
        0.95, description="within a task a row this similar to a better one is dropped"
    )
    max_per_task: int = Field(
        0, ge=0, description="rows of a task in the splits at most, chosen by chance; 0: any number"
    )
    cluster_similarity: Fraction = Field(0.7, description="rows this similar share a group, so that they share a split")
    completeness: Completeness = Field(default_factory=Completeness)
    duplicates: Duplicates = Field(default_factory=Duplicates)
    outliers: Outliers = Field(default_factory=Outliers)
    doubt: Doubt = Field(default_factory=Doubt)
    injection: Injection = Field(default_factory=Injection)
    scrub: Scrub = Field(default_factory=Scrub, description="what happens to secrets and to personal data")
    max_secrets: int = Field(5, ge=0, description="more different secrets in a run than this: quarantine")
    max_personal: int = Field(
        50, ge=0, description="more different personal values to be scrubbed in a run than this: quarantine"
    )
    scanners: tuple[str, ...] = Field(
        (),
        description="more detectors of personal data: names of the entry points l07.scanners, or package.module:function",
    )


class Contrast(Group):
    max_ratio: float = Field(
        2.0, ge=0, description="rejected examples kept beside the splits, as a multiple of the accepted"
    )
    min_margin: float = Field(
        20.0, ge=0, le=100, description="points by which the chosen run of a preference pair must score more"
    )
    pairs_per_task: int = Field(4, ge=1, description="preference pairs of a task at most")
    balance_length: bool = Field(
        True, description="leave out preference pairs until the chosen runs are as long as the rejected"
    )
    compare: Literal["rest", "turn", "run"] = Field(
        "rest",
        description="what of a preference pair is compared; rest: all from the first turn on in which the two agents did "
        "something else; turn: that turn alone; run: all that came after the prompt",
    )

    def rules(self, seed: int) -> PreferenceRules:
        """What pairs and labels depend on."""
        return PreferenceRules(seed, self.min_margin, self.pairs_per_task, self.balance_length, self.compare)


class Curriculum(Group):
    pacing: Literal["buckets", "competence"] = Field(
        "buckets",
        description="order of the train rows; buckets: easy 30 %, medium 50 %, hard 20 %, each in random order; "
        "competence: what is open grows from the easy end with the square root of the steps done",
    )


class Erasure(Group):
    due_s: int = Field(
        30 * 86400, ge=0, description="what `dataset.revoked` and `model.tainted` say: by then the model is replaced"
    )


class Match(Group):
    domains: tuple[str, ...] = Field((), description="domains of this track; empty: all")
    sources: tuple[str, ...] = Field((), description="event sources of this track; empty: all")


class SealRule(Group):
    count: int = Field(1000, ge=1, description="seal at this many accepted examples")
    max_age_s: int = Field(86400, ge=1, description="or when the oldest ready example is this old ...")
    min_count: int = Field(100, ge=1, description="... and at least this many are accepted")


class TrainRule(Group):
    min_rows: int = Field(500, ge=1, description="train at this many rows in the train split ...")
    min_new_share: Fraction = Field(
        0.2, description="... and this share of new rows against the last trained version ..."
    )
    max_age_s: int = Field(7 * 86400, ge=1, description="... or this long after the last training")
    priority: int = Field(0, ge=-1000, le=1000, description="of this track's jobs in the queue; higher goes first")


class Track(Group):
    match: Match = Field(default_factory=Match, description="which examples are this track's; the first match wins")
    base_model: str = Field("tiny-base", description="folder, name of a local base, or an alias of one")
    method: str = Field("sft", description="how to train; docs/training.md has the methods")
    options: dict[str, float] = Field({}, description="of the method, such as `beta`; unset ones have its defaults")
    teacher: str = Field("", description="registered model that `distill` learns from, such as default:1.0.0")
    reward_model: str = Field(
        "", description="job id of the reward model that a policy is trained by; empty: the newest of this track's jobs"
    )
    golden: str = Field("", description="frozen JSONL of the regression stage; empty: that stage is inconclusive")
    baseline: Literal["released", "base"] = Field(
        "released", description="what the candidate must beat; released: the PRODUCTION version, else the base"
    )
    max_examples: int = Field(
        500_000, ge=1, le=500_000,
        description="examples a dataset at most; what has more, of 1,000 and more, is cut a twentieth below, so that a full one is "
        "not written anew with every batch",
    )  # fmt: skip
    license: str = Field("", description="licence that a dataset's card names; empty: not stated")
    seal: SealRule = Field(default_factory=SealRule)
    train: TrainRule = Field(default_factory=TrainRule)

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        effective_options(self.method, self.options)
        return self
