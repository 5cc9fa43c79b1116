"""The same directive in the tool outputs of several tasks: somebody plants it. One look at a whole batch, linear in its
directive passages."""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import xxhash

from l07.domain.injection.directives import Passage
from l07.domain.injection.disguise import words_in

LEAST_TASKS = 3
LEAST_STRENGTH = 0.5  # below it letters and manuals repeat themselves: a shared environment is no campaign
GRAM, MOST_WORDS = 8, 80  # words of one shingle; words of a passage that are looked at


def grams_of(passage: Passage) -> frozenset[int]:
    """64-bit hashes of the word 8-grams of a passage's beginning; a shorter passage is one gram."""
    return _grams_of(passage.text[: MOST_WORDS * 12])


@lru_cache(maxsize=1024)  # each is asked for several times a batch, and a campaign's are the same; at most 10 MB
def _grams_of(text: str) -> frozenset[int]:
    words = [word.encode("utf-8", "surrogatepass") for word in words_in(text)[:MOST_WORDS]]
    starts = range(max(1, len(words) - GRAM + 1))
    return frozenset([xxhash.xxh3_64_intdigest(b" ".join(words[at : at + GRAM])) for at in starts])


def campaigns(runs: Iterable[tuple[str, Iterable[Passage]]]) -> frozenset[int]:
    """The grams that stand in the passages of three tasks or more, of (task, its run's passages); order and repeats
    within a task do not show."""
    readers: dict[frozenset[int], set[str]] = defaultdict(set)
    for task, passages in runs:
        for passage in passages:
            if passage.strength >= LEAST_STRENGTH:
                readers[grams_of(passage)].add(task)
    common: set[int] = set()
    tasks: dict[int, set[str]] = defaultdict(set)
    for grams, read_in in readers.items():
        if len(read_in) >= LEAST_TASKS:
            common |= grams
        else:
            for gram in grams:
                tasks[gram] |= read_in
    return frozenset(common.union(gram for gram, found in tasks.items() if len(found) >= LEAST_TASKS))
