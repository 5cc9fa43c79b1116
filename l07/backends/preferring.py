"""Preference pairs and labels of a version, derived when they are asked for: who is preferred is a function of the
version's rows and the rules, so the same version gives the same pairs.

They are not stored with a version: whether two runs began alike and how long they are is in the texts, and an update of
one hundredth would read all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from l07.backends.parquet_rows import iter_rows
from l07.domain.attempts import attempt_of, cut, pair_row
from l07.domain.dataset import SPLITS
from l07.domain.preference import (
    Attempt,
    PreferenceRules,
    candidate_pairs,
    kto_labels,
    length_bias,
    preference_pairs,
)

TABLES = (*SPLITS, "contrast")  # never review


class Preferences:
    """Pairs (`dpo`, also for a reward model) or labels (`kto`) of a version, split by split, in TRL's conversational
    formats: `prompt` is what came before the agent's first turn."""

    def __init__(self, folder: Path, rules: PreferenceRules, *, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._attempts = [attempt for table in TABLES for attempt in _attempts(folder, table)]
        candidates = candidate_pairs(self._attempts, rules) if kind == "dpo" else []
        self._pairs = preference_pairs(candidates, rules)
        self._labels = kto_labels(self._attempts, rules) if kind == "kto" else {}
        self._before = length_bias(candidates)

    def said(self) -> dict[str, Any]:
        """What was counted: for pairs the length bias before and after the balance, for labels the counts of each."""
        desirable = sum(self._labels.values())
        labels = {"desirable": desirable, "undesirable": len(self._labels) - desirable}
        pairs = {"length_before": self._before, "length_after": length_bias(self._pairs)}
        return {"attempts": len(self._attempts), **(pairs if self._kind == "dpo" else labels)}

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The lines of one split."""
        return self._pair_rows(split) if self._kind == "dpo" else self._label_rows(split)

    def _pair_rows(self, split: str) -> Iterator[dict[str, Any]]:
        pairs = [pair for pair in self._pairs if pair.chosen.split == split]
        wanted = {key for pair in pairs for key in (pair.chosen.key, pair.rejected.key)}
        texts = {
            row["key"]: msgspec.json.encode(
                {name: row[name] for name in ("messages", "tools")}
            )  # a tenth of the objects
            for table in (split, "contrast")
            for row in iter_rows(self._folder, table)
            if row["key"] in wanted
        }
        for pair in pairs:
            chosen, rejected = (msgspec.json.decode(texts[side.key]) for side in (pair.chosen, pair.rejected))
            yield pair_row(pair, chosen, rejected)

    def _label_rows(self, split: str) -> Iterator[dict[str, Any]]:
        for table in (split, "contrast"):
            for row in iter_rows(self._folder, table):
                if row["split"] == split and row["key"] in self._labels:
                    yield {**cut(row), "label": self._labels[row["key"]], "key": row["key"]}


def _attempts(folder: Path, table: str) -> Iterator[Attempt]:
    found = map(attempt_of, iter_rows(folder, table))
    return (attempt for attempt in found if attempt is not None)
