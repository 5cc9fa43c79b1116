"""The shape of a rule of the scrub, and what the patterns share.

Patterns are RE2 over the bytes of a row whose texts are joined by NUL, so none may match a NUL. A line feed that JSON has
written as backslash and n is there as \\x01 and a line feed: `\\nAKIA...` has its word's edge where it belongs."""

from collections.abc import Callable
from dataclasses import dataclass

END = r"(?:[^0-9A-Za-z_-]|\z)"
QUOTE = r"\\*[\"'`]"
_NAMED = r"(?i:value|content|data)"
_TAG = r"<[^<>\x00]+>"
# what stands between a label and its value: {"label": "v"}, **label:** v, label -> v, label ..... v, <dt>label</dt><dd>v<,
# {"name": "label", "value": "v"}, label:\n  value: v, "label on file is v"
SAID = (
    rf"(?:(?:{QUOTE})?\]?[*_]*\s*(?:[-=]>|:=|[:=|]{{1,2}})[*_]*\s*(?:{_NAMED}\s*:\s*)?\[?\s*[fbru]?(?:{QUOTE})?"
    rf"|(?:{QUOTE})?\s*>\s*|(?:\s*{_TAG}\s*){{1,3}}|\t+|\s*\.{{3,}}\s*"
    rf"|{QUOTE},?\s*(?:{QUOTE})?{_NAMED}(?:{QUOTE})?\s*[:=]\s*{QUOTE}"
    rf"|(?:\s+[A-Za-z]+){{0,4}}\s+(?i:is|was|be|to|lautet|est|es)\s*:?\s+(?:{QUOTE})?"
    r"|\s*\(\s*"
)
BETWEEN = rf"{SAID}|\s+(?:{QUOTE})?)"  # or nothing but a space: for values that no word can be taken for
SAID += ")"
NEAR = rf"(?:{BETWEEN}|[^0-9A-Za-z\x00]{{1,16}}?)"  # or any marks: for values that have a shape of their own


def whole(value: str, before: str) -> str:
    """No second look."""
    return value


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to recognise one kind. Its one group is the value."""

    kind: str
    pattern: str
    gate: str = ""  # shorter, found in every text in which `pattern` is found; empty: the pattern itself
    # the second look: the value and the text before it -> the part of the value to replace, "" for none
    check: Callable[[str, str], str] = whole
    same: Callable[[str], str] = str  # two spellings with the same result are one value
    personal: bool = False  # else a secret
    window: bool = False  # a match that the check refuses may hide one that begins later in it


def compact(value: str) -> str:
    """Without separators and case: two spellings of one number."""
    return "".join(c for c in value if c.isalnum()).upper()
