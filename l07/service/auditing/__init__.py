"""The audit as one call: somebody's runs, faults planted into a copy of them, versions built as `l07 run` builds them, in
a scratch folder, and what became of each run."""

import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l07.domain.example import NoExample, TrainingExample, extract
from l07.domain.plants.base import Pool
from l07.domain.plants.plan import plants
from l07.domain.selection import keyed_hash
from l07.pipeline import curate
from l07.pipeline.audit.figures import Fact, figures, goals
from l07.pipeline.audit.leaks import leaks, pairs
from l07.pipeline.audit.rows import sealed, with_plants
from l07.pipeline.audit.scores import scores
from l07.pipeline.audit.spills import USED, alarms, spills
from l07.pipeline.audit.stages import stages
from l07.ports import Curator, Entry, SealedBatch, SealedRow
from l07.service.auditing.contradicting import contradict
from l07.service.auditing.looking import Looker, Names
from l07.service.auditing.reading import READ_RECORDS, Input, Progress, read_dataset, read_events
from l07.settings import Settings

__all__ = ["Audit", "Input", "audit", "half_of", "read_dataset", "read_events"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What is asked for."""

    rates: Mapping[str, float]
    seed: int
    half: str = ""  # "a" or "b": only tasks of that half; "": all
    truth: Mapping[str, str] = field(default_factory=dict)  # natural key -> what is wrong with the run; "": nothing


async def audit(
    given: Input, asked: Audit, settings: Settings, *, curator: Curator, progress: Progress
) -> dict[str, Any]:
    """The whole report as data; versions are built in a scratch folder that is gone afterwards."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="l07-audit-") as scratch:
        work = _Work(asked, settings.model_copy(update={"data_dir": Path(scratch)}), curator, progress)
        for track, rows in sorted(given.rows.items()):
            await work.track(track, rows)
        report = work.report()
    return {
        "audit": 1,
        "seed": asked.seed,
        "half": asked.half or None,
        "rates": dict(asked.rates),
        "labelled": len(asked.truth),
        "input": given.counts(),
        **report,
        "seconds": round(time.monotonic() - started, 1),
    }


class _Work:
    """Track by track: plant, build, look at what came out."""

    def __init__(self, asked: Audit, settings: Settings, curator: Curator, progress: Progress) -> None:
        from l07.backends.open import open_ledger, open_store

        self._asked, self._settings = asked, settings
        self._curator, self._progress = curator, progress
        self._store, self._ledger = open_store(settings), open_ledger(settings, "datasets")
        self._looker = Looker(asked.truth)
        self._versions: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        self._superseded: Counter[str] = Counter()

    async def track(self, track: str, rows: Sequence[SealedRow]) -> None:
        from l07.backends.worker import read_golden

        examples = self._examples(rows)
        kept = [row for row in rows if row.key in examples]
        names = _names(examples.values())
        planted = plants(self._pools(kept, examples, names), self._asked.rates, seed=self._asked.seed)
        self._progress({"phase": "plant", "records": len(planted)})
        contradicted = contradict(kept, planted, self._settings)
        self._superseded.update(contradicted.duplicates)
        with_faults, later = with_plants(kept, planted, contradicted.rows)
        rule = self._settings.track(track)
        batches = list(sealed(track, with_faults, later, count=rule.seal.count))
        newest = await self._build(track, batches)
        folder = self._store.path(newest.body["data"]["uri"]) if newest else None
        golden, _ = read_golden(Path(rule.golden) if rule.golden else None)
        self._looker.look(folder, with_faults, examples, planted, names, golden)

    def _examples(self, rows: Sequence[SealedRow]) -> dict[str, TrainingExample]:
        """The runs of the asked half that can be examples at all."""
        found = {}
        for number, row in enumerate(rows):
            example = extract(
                row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence,
                trace_at=row.trace_at, evaluation_at=row.evaluation_at, request=row.request, request_at=row.request_at,
            )  # fmt: skip
            if not isinstance(example, NoExample) and self._asked.half in ("", half_of(example)):
                found[row.key] = example
            if number % READ_RECORDS == 0:
                self._progress({"phase": "look", "step": number, "steps": len(rows)})
        return found

    def _pools(
        self, rows: Sequence[SealedRow], examples: Mapping[str, TrainingExample], names: Names
    ) -> dict[str, Pool]:
        """Of each source what may be planted into: nothing that a label calls spoiled."""
        accepted: dict[str, list[TrainingExample]] = defaultdict(list)
        rejected: dict[str, list[TrainingExample]] = defaultdict(list)
        for row in rows:
            example = examples[row.key]
            name = names[(example.source, example.domain)]
            if row.decision == "ACCEPT" and not self._asked.truth.get(row.key):
                accepted[name].append(example)
            elif "low_score" in row.reasons:
                rejected[name].append(example)
        return {name: Pool.of(accepted[name], rejected[name]) for name in accepted}

    async def _build(self, track: str, batches: Sequence[SealedBatch]) -> Entry | None:
        waiting: list[SealedBatch] = []
        for number, batch in enumerate(batches, 1):
            self._progress({"phase": "curate", "step": number, "steps": len(batches), "track": track})
            waiting.append(batch)
            standing = curate.Standing.of(await self._ledger.entries(), track)
            asked = curate.Asked(f"audit:{batch.seal.batch_id}", curate.Batch(track, batch.seal.batch_id))
            made = await curate.next_version(
                asked, waiting, standing, ledger=self._ledger, store=self._store,
                curator=self._curator, settings=self._settings,
            )  # fmt: skip
            if isinstance(made, Entry):
                waiting = []
                self._versions.append(_version(made))
            elif number == len(batches):
                self._refused.append({"track": track, **made})
        return curate.Standing.of(await self._ledger.entries(), track).newest

    def report(self) -> dict[str, Any]:
        self._progress({"phase": "measure", "step": 0, "steps": 1})
        found, similarity = self._looker.found, self._settings.filter.cluster_similarity
        told = {
            "versions": self._versions,
            "refused": self._refused,
            "contradicted": dict(self._superseded),
            **figures(found.facts),
            "stages": stages(found.facts),
            "spills": spills(found.facts, found.plants, found.files),
            "scrubbed": _scrubbed(self._settings),
            "alarms": alarms(found.facts, found.examples, found.stored),
            "leaks": leaks(found.rows, similarity=similarity, golden=found.golden),
            "pairs": pairs(found.plants, found.rows, similarity=similarity),
            "scores": scores(found.facts),
            "planted": [_told(fact) for fact in found.facts if fact.kind],
        }
        self._progress({"phase": "measure", "step": 1, "steps": 1})
        return told | {"goals": goals(told)}


def _scrubbed(settings: Settings) -> list[str]:
    """The classes of planted values that these settings want to find."""
    rule = settings.filter.scrub
    secret = ["secret"] if rule.secrets == "scrub" else []
    personal = {"scrub": ["personal", USED], "keep_arguments": ["personal"]}.get(rule.personal, [])
    return secret + personal


def half_of(example: TrainingExample) -> str:
    """ "a" or "b": runs of one task are in one half, whatever is asked and planted."""
    return "ab"[keyed_hash(0, "half", f"{example.domain}/{example.task_id}") % 2]


def _names(examples: Iterable[TrainingExample]) -> Names:
    """What a (source, domain) is called: by its domain, with the source before it where there are several."""
    pairs = sorted({(example.source, example.domain) for example in examples})
    several = len({source for source, _ in pairs}) > 1
    return {pair: f"{pair[0]} {pair[1]}" if several else pair[1] for pair in pairs}


def _version(entry: Entry) -> dict[str, Any]:
    data = entry.body["data"]
    return {
        "id": entry.key,
        "splits": data["splits"],
        "added": data["added"],
        "removed": data["removed"],
        "counts": entry.body["counts"],
    }


def _told(fact: Fact) -> dict[str, Any]:
    names = ("key", "source", "kind", "fault", "of", "what", "fate", "table", "decision", "reasons", "scores")
    return {name: getattr(fact, name) for name in names}
