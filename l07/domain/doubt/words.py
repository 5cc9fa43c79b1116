"""How far the words of a run's texts are the same. A word is letters, digits and all that is not ASCII; its case does not
count. `skim.pyx` does the same for runs that were decoded."""

from collections.abc import Sequence

Words = set[bytes] | frozenset[bytes]
Shares = tuple[float, float, float, float, float]

MOST_CHARACTERS = 2_000  # of each text that is read for words
NOT_ASKED = -1.0  # a share of nothing

WORDS = bytes(
    byte | 32 if 65 <= byte <= 90 else byte if byte >= 128 or chr(byte).isalnum() or byte == 95 else 32
    for byte in range(256)
)


def overlaps(asked: list[str], given: list[str], goal: str, answer: str) -> Shares:
    """answer_known, answer_last, fit_own, next_use and goal_met of CONSISTENCY. `asked`: of each call the arguments,
    `given`: what came back."""
    calls, outputs = [*map(_words, asked)], [*map(_words, given)]
    goal_words, said = _words(goal), _words(answer)
    return (
        _met(said - goal_words, outputs) if calls else NOT_ASKED,
        len(said & outputs[-1]) / len(said) if said and outputs else NOT_ASKED,
        _fit_own(calls, outputs),
        _next_use(calls, outputs, goal_words),
        _met(goal_words, [*calls, *outputs, said]),
    )


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text[:MOST_CHARACTERS].encode("utf-8", "replace").translate(WORDS).split())


def _met(words: Words, places: Sequence[Words]) -> float:
    """The share of the words that at least one place has."""
    if not words:
        return NOT_ASKED
    left = words
    for place in places:
        left = left - place
    return 1 - len(left) / len(words)


def _fit_own(asked: Sequence[Words], given: Sequence[Words]) -> float:
    total, count, last = 0.0, 0, len(asked) - 1
    for i, words in enumerate(asked):
        if words and last:
            beside = given[i + 1] if i < last else given[i - 1]
            total += (len(words & given[i]) - len(words & beside)) / len(words)
            count += 1
    return total / count if count else NOT_ASKED


def _next_use(asked: Sequence[Words], given: Sequence[Words], goal: Words) -> float:
    total, count = 0.0, 0
    for before, words, output in zip(asked, asked[1:], given, strict=False):
        new = words - before - goal
        if new:
            total += len(new & output) / len(new)
            count += 1
    return total / count if count else NOT_ASKED
