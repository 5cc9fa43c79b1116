"""The same directive in the tool outputs of several tasks: somebody plants it. One look at a whole batch, linear in its
directive passages."""

import re
from collections import defaultdict
from collections.abc import Iterable

import xxhash

from l07.domain.injection.directives import Passage

LEAST_TASKS = 3
LEAST_STRENGTH = 0.5  # below it letters and manuals repeat themselves: a shared environment is no campaign
GRAM, MOST_WORDS = 8, 80  # words of one shingle; words of a passage that are looked at

_WORD = re.compile(r"[^\W_]+")


def grams_of(passage: Passage) -> frozenset[int]:
    """64-bit hashes of the word 8-grams of a passage's beginning; a shorter passage is one gram."""
    words = _WORD.findall(passage.text[: MOST_WORDS * 12])[:MOST_WORDS]
    starts = range(max(1, len(words) - GRAM + 1))
    return frozenset(
        xxhash.xxh3_64_intdigest(" ".join(words[at : at + GRAM]).encode("utf-8", "surrogatepass")) for at in starts
    )


def campaigns(runs: Iterable[tuple[str, Iterable[Passage]]]) -> frozenset[int]:
    """The grams that stand in the passages of three tasks or more, of (task, its run's passages); order and repeats
    within a task do not show."""
    tasks: dict[int, set[str]] = defaultdict(set)
    for task, passages in runs:
        for passage in passages:
            if passage.strength >= LEAST_STRENGTH:
                for gram in grams_of(passage):
                    if len(tasks[gram]) < LEAST_TASKS:
                        tasks[gram].add(task)
    return frozenset(gram for gram, found in tasks.items() if len(found) >= LEAST_TASKS)
