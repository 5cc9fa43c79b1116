"""What must not be: exact repeats, near twins across splits, the same deeds on both sides. Its own search, exact by
prefix filtering, which shares neither sketch nor buckets with the curator.

Source: Chaudhuri, Ganti, Kaushik (2006); Bayardo, Ma, Srikant (2007), section 3: two sets whose Jaccard index is at
least t share one of the (1 - t) * n + 1 rarest elements of either."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from l07.domain.example import text_of, tool_calls
from l07.domain.plants.plan import Plant
from l07.pipeline.audit.figures import ADDED

WORDS = 5  # of a shingle
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a split."""

    key: str
    split: str
    task: str
    goal: str
    messages: Sequence[Mapping[str, Any]]


GOLDEN = "golden"  # in the place of a split: the frozen rows that a model will be asked


def leaks(rows: Sequence[Row], *, similarity: float, golden: Sequence[Row] = ()) -> dict[str, Any]:
    """Counts that must be 0, and up to ten pairs of each. `golden` rows have a twin in train, or none."""
    apart = [
        (one, other, value) for one, other, value in near([*rows, *golden], similarity) if one.split != other.split
    ]
    twins = [pair for pair in apart if GOLDEN not in _splits(pair)]
    asked = [pair for pair in apart if _splits(pair) == {GOLDEN, "train"}]
    repeats = list(_repeats(rows))
    tasks: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        tasks[row.task].add(row.split)
    torn = sorted(task for task, splits in tasks.items() if len(splits) > 1)
    return {
        "similarity": similarity,
        "rows": len(rows),
        "near_twins_across_splits": len(twins),
        "exact_repeats": len(repeats),
        "tasks_in_two_splits": len(torn),
        "golden_rows": len(golden),
        "golden_twins_in_train": len(asked),
        "pairs": [
            {"keys": [one.key, other.key], "splits": [one.split, other.split], "similarity": round(value, 4)}
            for one, other, value in [*twins[:10], *asked[:10]]
        ],
        "repeated": [list(keys) for keys in repeats[:10]],
    }


def _splits(pair: tuple[Row, Row, float]) -> set[str]:
    return {pair[0].split, pair[1].split}


def pairs(plants: Iterable[Plant], rows: Sequence[Row], *, similarity: float) -> list[dict[str, Any]]:
    """Of the copies that were planted, by kind and source: how many stand in a split beside their original, in another
    split than it, and in another although they are near twins. Of exact repeats none may stand beside its original."""
    found = {row.key: row for row in rows}
    lines: dict[tuple[str, str], Counter[str]] = {}
    for plant in plants:
        if plant.kind in ADDED:
            counts = lines.setdefault((plant.kind, plant.source), Counter())
            one, other = found.get(plant.of), found.get(plant.key)
            counts["planted"] += 1
            if one is not None and other is not None:
                counts["both_kept"] += 1
                alike = jaccard(shingles(one.goal, one.messages), shingles(other.goal, other.messages))
                counts["apart"] += one.split != other.split
                counts["near_and_apart"] += one.split != other.split and alike >= similarity
    names = ("planted", "both_kept", "apart", "near_and_apart")
    return [
        {"kind": kind, "source": source, **{name: counts[name] for name in names}}
        for (kind, source), counts in sorted(lines.items())
    ]


def near(rows: Sequence[Row], similarity: float) -> Iterator[tuple[Row, Row, float]]:
    """Every pair whose goals and deeds in words are at least so alike (Jaccard index of word 5-grams)."""
    sets = [shingles(row.goal, row.messages) for row in rows]
    often = Counter(shingle for found in sets for shingle in found)
    index: dict[Any, list[int]] = defaultdict(list)
    for number in sorted(range(len(rows)), key=lambda n: (len(sets[n]), n)):
        mine = sets[number]
        rare = sorted(mine, key=lambda shingle: (often[shingle], shingle))
        prefix = rare[: len(mine) - math.ceil(similarity * len(mine)) + 1]
        for other in sorted({met for shingle in prefix for met in index[shingle]}):
            if len(sets[other]) >= similarity * len(mine):
                value = jaccard(mine, sets[other])
                if value >= similarity:
                    yield rows[other], rows[number], value
        for shingle in prefix:
            index[shingle].append(number)


def shingles(goal: str, messages: Sequence[Mapping[str, Any]]) -> frozenset[tuple[str, ...]]:
    """Of the goal, the assistant's words and its calls, in order; a text of fewer than five words is one shingle."""
    parts = [goal]
    for message in messages:
        if message.get("role") == "assistant":
            parts.append(text_of(message.get("content")))
            for call in tool_calls([message]):
                parts.append(f"{call['function'].get('name')} {text_of(call['function'].get('arguments'))}")
    words = _WORD.findall("\n".join(parts).lower())
    return frozenset(zip(*(words[n:] for n in range(WORDS)), strict=False)) or frozenset({tuple(words)})


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _repeats(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Keys of rows that say the same, whatever their calls' ids are."""
    found: dict[bytes, list[str]] = defaultdict(list)
    for row in rows:
        said = [
            [
                m.get("role"),
                m.get("content"),
                [call.get("function") for call in m.get("tool_calls") or ()],
                m.get("name"),
            ]
            for m in row.messages
        ]
        found[msgspec.json.encode(said, order="deterministic")].append(row.key)
    return (tuple(sorted(keys)) for keys in found.values() if len(keys) > 1)
