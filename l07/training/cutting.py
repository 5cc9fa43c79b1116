"""Where a sample that is longer than the context may end: a rule over its turns, before any token is made.

Whole turns are left out from the end. What stays ends with an assistant's turn, or with the last output of a tool that it
called: never inside a call, nor between a call and its output. What comes first always stays.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

Messages = Sequence[Mapping[str, Any]]


def says_something(message: Mapping[str, Any]) -> bool:
    """Whether it is an assistant's turn with something to learn from: a call, or more than blanks."""
    said = bool(message.get("tool_calls")) or bool(str(message.get("content") or "").strip())
    return message["role"] == "assistant" and said


def ends(messages: Messages) -> list[int]:
    """How many messages may stay, fewest first; all of them is none of these. Each keeps a turn to learn from."""
    found: list[int] = []
    learned = False
    for count, (message, after) in enumerate(pairwise(messages), 1):
        learned = learned or says_something(message)
        if learned and after["role"] != "tool" and _closes(message):
            found.append(count)
    return found


def _closes(message: Mapping[str, Any]) -> bool:
    return message["role"] == "tool" or (message["role"] == "assistant" and not message.get("tool_calls"))


def longest_that_fits(messages: Messages, fits: Callable[[Messages], bool]) -> Messages | None:
    """All messages where `fits` says so, else as many as the rule allows; None: not even the fewest fit.

    `fits` is asked a logarithmic number of times: a longer conversation is taken to have more tokens."""
    if fits(messages):
        return messages
    allowed, best = ends(messages), None
    low, high = 0, len(allowed)
    while low < high:
        middle = (low + high) // 2
        if fits(messages[: allowed[middle]]):
            best, low = messages[: allowed[middle]], middle + 1
        else:
            high = middle
    return best
