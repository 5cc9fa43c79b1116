"""Preference pairs and labels of a version, derived when they are asked for: who is preferred is a function of the
version's rows and the rules, so the same version gives the same pairs.

They are not stored with a version: whether two runs began alike and how long they are is in the texts, and an update of
one hundredth would read all of them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from l07.backends.parquet_rows import iter_rows
from l07.domain.dataset import SPLITS
from l07.domain.example import text_of, tool_calls
from l07.domain.formats import until_answer
from l07.domain.preference import (
    Attempt,
    PreferenceRules,
    candidate_pairs,
    eligible,
    kto_labels,
    length_bias,
    preference_pairs,
)

Messages = Sequence[Mapping[str, Any]]
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
            row["key"]: msgspec.json.encode(_halves(row))  # bytes: a tenth of the objects
            for table in (split, "contrast")
            for row in iter_rows(self._folder, table)
            if row["key"] in wanted
        }
        for pair in pairs:
            chosen, rejected = (msgspec.json.decode(texts[side.key]) for side in (pair.chosen, pair.rejected))
            said = {"chosen": chosen.pop("completion"), "rejected": rejected["completion"], "margin": pair.margin}
            yield {**chosen, **said, "chosen_key": pair.chosen.key, "rejected_key": pair.rejected.key}

    def _label_rows(self, split: str) -> Iterator[dict[str, Any]]:
        for table in (split, "contrast"):
            for row in iter_rows(self._folder, table):
                if row["split"] == split and row["key"] in self._labels:
                    yield {**_halves(row), "label": self._labels[row["key"]], "key": row["key"]}


def _attempts(folder: Path, table: str) -> Iterator[Attempt]:
    for row in iter_rows(folder, table):
        halves = _halves(row)
        if not halves["completion"] or not eligible(row["decision"], row["reasons"]):
            continue
        prompt = msgspec.json.encode([halves["prompt"], row["tools"]], order="deterministic")
        yield Attempt(
            key=row["key"],
            task=f"{row['domain']}/{row['task_id']}",
            prompt=hashlib.sha256(prompt).hexdigest(),
            split=row["split"],
            domain=row["domain"],
            accepted=row["decision"] == "ACCEPT",
            quality_score=row["quality_score"],
            confidence=row["confidence"],
            length=max(1, _length(halves["completion"])),
        )


def _halves(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = until_answer(row["messages"])
    first = next((at for at, message in enumerate(messages) if message["role"] == "assistant"), 0)
    tools = {"tools": row["tools"]} if row["tools"] else {}
    return {"prompt": messages[:first], "completion": messages[first:], **tools}


def _length(messages: Messages) -> int:
    """Characters of what was said and called."""
    said = sum(len(text_of(message.get("content"))) for message in messages)
    functions = (call["function"] for call in tool_calls(messages))
    return said + sum(len(str(f["name"])) + len(text_of(f.get("arguments"))) for f in functions)
