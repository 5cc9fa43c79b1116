"""The filter for a caller in Python: every decision with its reasons, and the examples that pass.

Duplicates and the split of a group need the dataset that the examples go into: the curator decides those.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from l07.domain.example import FEATURES, TrainingExample, measure
from l07.domain.quality import Verdict, judge
from l07.service.joining import gate
from l07.settings import Settings

AT_ONCE = 64  # examples that go through a look together
COUNTS = {
    "ACCEPT": "accepted_count",
    "REVIEW": "review_count",
    "REJECT": "rejected_count",
    "QUARANTINE": "quarantined_count",
}


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """The gates and the limits beside them.

    Raises:
        ValueError: a value out of range."""

    quality_threshold: float = 70.0  # smallest score, 0-100
    confidence_threshold: float = 0.6  # smallest confidence, 0-1
    max_outlier_probability: float = 0.15  # a rank within (source, domain)
    outlier_z: float = 3.5  # REVIEW only where the robust z is above this too
    scrub_secrets: Literal["scrub", "off"] = "scrub"
    scrub_personal: Literal["scrub", "keep_arguments", "keep", "off"] = "keep_arguments"
    max_secrets: int = 5  # more different secrets than this: quarantine
    max_personal: int = 50  # more different personal values than this, of those that would be scrubbed: quarantine
    scanners: tuple[str, ...] = ()  # entry points l07.scanners, or package.module:function
    injection_scanner: str = ""  # an entry point l07.injection_scanners, or package.module:function
    injection_threshold: float = 0.45  # score of a hijacked run, 0-1, from which it is quarantined
    completeness: bool = True  # switches of the stages
    outliers: bool = True
    injection: bool = True
    seed: int = 7

    def __post_init__(self) -> None:
        shares = (self.confidence_threshold, self.max_outlier_probability, self.injection_threshold)
        fits = 0 <= self.quality_threshold <= 100 and all(0 <= share <= 1 for share in shares)
        if not fits or self.outlier_z <= 0 or min(self.max_secrets, self.max_personal) < 0:
            raise ValueError(f"out of range: {self}")

    @classmethod
    def of(cls, settings: Settings) -> "FilterConfig":
        rule = settings.filter
        return cls(
            quality_threshold=rule.quality_threshold,
            confidence_threshold=rule.confidence_threshold,
            max_outlier_probability=rule.max_outlier_probability,
            outlier_z=rule.outlier_z,
            scrub_secrets=rule.scrub.secrets,
            scrub_personal=rule.scrub.personal,
            max_secrets=rule.max_secrets,
            max_personal=rule.max_personal,
            scanners=rule.scanners,
            injection_threshold=rule.injection.threshold,
            injection_scanner=rule.injection.scanner,
            completeness=rule.completeness.enabled,
            outliers=rule.outliers.enabled,
            injection=rule.injection.enabled,
            seed=settings.seed,
        )


class ExampleQualityFilter:
    """Counts over all calls. Nothing is changed: secrets are taken out when a dataset is made."""

    def __init__(self, config: FilterConfig | None = None) -> None:
        self.config = config or FilterConfig()
        self._decisions: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    async def filter(self, examples: Sequence[TrainingExample]) -> list[TrainingExample]:
        """Those that are ACCEPT, in their order."""
        verdicts = await asyncio.to_thread(self.judge, examples)
        self._decisions.update(verdict.decision for verdict in verdicts)
        self._reasons.update(reason for verdict in verdicts for reason in verdict.reasons)
        return [example for example, verdict in zip(examples, verdicts, strict=True) if verdict.decision == "ACCEPT"]

    def judge(self, examples: Sequence[TrainingExample]) -> list[Verdict]:
        """ACCEPT, REVIEW, REJECT or QUARANTINE for each, with every reason. Outliers: among this call's accepted."""
        some = (examples[at : at + AT_ONCE] for at in range(0, len(examples), AT_ONCE))
        verdicts = [verdict for these in some for verdict in self._gates(these)]
        accepted = [number for number, verdict in enumerate(verdicts) if verdict.decision == "ACCEPT"]
        for number, reasons in self._outliers([examples[number] for number in accepted], accepted).items():
            decision = "REVIEW" if "outlier_z" in reasons else verdicts[number].decision
            verdicts[number] = Verdict(decision, (*verdicts[number].reasons, *reasons))
        return verdicts

    def statistics(self) -> dict[str, Any]:
        counts = {name: self._decisions[decision] for decision, name in COUNTS.items()}
        return {**counts, "reasons": dict(sorted(self._reasons.items()))}

    def _gates(self, examples: Sequence[TrainingExample]) -> list[Verdict]:
        """One look at all of them, then the next one."""
        from l07.domain.injection import inspect_all, scanner_named, weighed
        from l07.domain.scrub import Policy, scrub_all

        config = self.config
        verdicts = [self._judged(example) for example in examples]
        if config.injection:
            runs = [(example.goal, example.messages) for example in examples]
            read = inspect_all(runs, scanner=scanner_named(config.injection_scanner))
            verdicts = [weighed(*one, threshold=config.injection_threshold) for one in zip(verdicts, read, strict=True)]
        policy = Policy(
            config.scrub_secrets, config.scrub_personal, config.scanners, config.max_secrets, config.max_personal
        )
        rows = [((example.goal, example.messages, example.tools), (example.goal,)) for example in examples]
        spills = [clean.spill(policy) for clean in scrub_all(rows, policy=policy)]
        return [
            Verdict("QUARANTINE", (*verdict.reasons, *spill)) if spill else verdict
            for verdict, spill in zip(verdicts, spills, strict=True)
        ]

    def _judged(self, example: TrainingExample) -> Verdict:
        config = self.config
        reasons = gate(
            "", example.quality_score, example.confidence,
            quality_threshold=config.quality_threshold, confidence_threshold=config.confidence_threshold,
        )  # fmt: skip
        return judge(example, "REJECT" if reasons else "ACCEPT", reasons, complete=config.completeness)

    def _outliers(self, examples: Sequence[TrainingExample], numbers: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """The reasons of each, by its number in the call; runs of one key are told apart by it."""
        if not self.config.outliers:
            return {}
        from l07.domain.outliers import Run, strangeness

        runs = [
            Run(f"{example.key}\0{number}", example.source, example.domain, _features(example), new=True)
            for example, number in zip(examples, numbers, strict=True)
        ]
        limits = {"max_probability": self.config.max_outlier_probability, "max_z": self.config.outlier_z}
        strange = strangeness(runs, seed=self.config.seed)
        return {int(key.rpartition("\0")[2]): found.reasons(**limits) for key, found in strange.items()}


def _features(example: TrainingExample) -> tuple[float, ...]:
    known = example.features or measure(example.messages, example.goal)
    return tuple(known[name] for name in FEATURES)
