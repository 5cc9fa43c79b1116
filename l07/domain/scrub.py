"""Secrets leave the messages before anybody learns from them: each becomes a placeholder that is the same all through
its row.

First set, by what it must never miss: credentials with a fixed shape, and card numbers that pass Luhn. E-mail
addresses, phone numbers and account numbers stay: in real tool use they are the arguments of the task (330 of 601
banking runs pass an account number to a tool, 34 of 587 travel runs an address), and a model that learns `<iban_1>`
has learnt to make a wrong call. One pass of a google-re2 Set tells which patterns can occur in a text; only those run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret. `group` is the part that is replaced; `narrow` is the second look."""

    kind: str
    pattern: str
    group: int = 0
    narrow: Callable[[str], str] = str  # the part that is the secret; "" when the second look finds none


def luhn(text: str) -> bool:
    """The checksum of card numbers, over the digits of `text`; 13-19 of them, not all the same."""
    digits = [int(c) for c in text if c.isascii() and c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d * 2 - 9 * (d > 4) if place % 2 else d for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _card(text: str) -> str:
    """The longest run of whole blocks that passes Luhn: a number that follows the card ("4111... 1111 12") must not hide it."""
    blocks = [match.span() for match in re2.finditer(r"[0-9]+", text)]
    spans = ((blocks[i][0], blocks[j][1]) for i in range(len(blocks)) for j in range(i, len(blocks)))
    return max((text[start:end] for start, end in spans if luhn(text[start:end])), key=len, default="")


def _secret_like(text: str) -> str:
    """A value, not a word: digits and letters both; no placeholder of a manual."""
    plain = text.strip("'\"")
    if plain.lower().startswith(("your", "example", "xxx", "<", "${", "{{", "none", "null", "true", "false")):
        return ""
    return text if any(c.isdigit() for c in plain) and any(c.isalpha() for c in plain) else ""


RULES: tuple[Rule, ...] = (
    Rule(
        "private_key",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
        r"(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|\z)",
    ),
    Rule("aws_access_key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    Rule(
        "aws_secret_key",
        r"(?i)aws_?(?:secret)?_?(?:access)?_?key[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)",
        1,
    ),
    Rule("github_token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
    Rule("slack_token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    Rule("slack_webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}"),
    Rule("stripe_key", r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,200}\b"),
    Rule("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    Rule("bearer_token", r"(?i)\bbearer\s+([A-Za-z0-9._~+/-]{16,}=*)", 1, _secret_like),
    Rule(
        "api_key",
        r"(?i)\b(?:[a-z0-9]+[_-])*(?:api[_-]?key|apikey|secret[_-]?key|client[_-]?secret|access[_-]?token|auth[_-]?token|password|passwd)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9._~+/!@#$%^&*-]{8,200}=*)",
        1,
        _secret_like,
    ),
    Rule("card_number", r"(?:\A|[^0-9A-Za-z.])([0-9](?:[ -]?[0-9]){12,30})\b", 1, _card),
)


def _compile() -> tuple[Any, Sequence[Any]]:
    options = re2.Options()
    options.log_errors = False
    gate = re2.Set.SearchSet(options)
    for rule in RULES:
        gate.Add(rule.pattern)
    gate.Compile()
    return gate, [re2.compile(rule.pattern, options) for rule in RULES]


_GATE, _PATTERNS = _compile()


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The values without their secrets; how many different secrets of each kind there were."""

    values: tuple[Any, ...]
    kinds: Mapping[str, int]

    @property
    def hits(self) -> int:
        """Different secrets, not places: one password that is said seven times is no spill."""
        return sum(self.kinds.values())


def scrub(*values: Any) -> Scrubbed:
    """One row's texts and structures. What is a secret in one place is replaced in every place of the row, also where
    no rule would have seen it ("set it to k9..." beside `{"password": "k9..."}`): equal before is equal after."""
    found: dict[str, str] = {}
    texts = list(_texts(values))
    if not _GATE.Match("\n".join(texts)):  # one look at the whole row: most rows hold nothing
        return Scrubbed(values, {})
    for text in texts:
        for kind, secret in secrets_in(text):
            found.setdefault(secret, kind)
    if not found:
        return Scrubbed(values, {})
    kinds: dict[str, int] = {}
    names = {}
    for secret, kind in found.items():
        kinds[kind] = kinds.get(kind, 0) + 1
        names[secret] = f"<{kind}_{kinds[kind]}>"
    return Scrubbed(tuple(_replaced(value, _replacer(names)) for value in values), kinds)


def secrets_in(text: str) -> Iterator[tuple[str, str]]:
    """(kind, secret) of every find, kinds in the order of RULES."""
    for number in sorted(_GATE.Match(text) or ()):
        rule = RULES[number]
        for match in _PATTERNS[number].finditer(text):
            secret = rule.narrow(match.group(rule.group))
            if secret:
                yield rule.kind, secret


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            # {"api_key": "k9..."} says in two texts what api_key=k9... says in one
            yield from (f"{name}={item}",) if isinstance(item, str) and len(item) < 1000 else ()
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _replacer(names: Mapping[str, str]) -> Callable[[str], str]:
    longest_first = sorted(names, key=lambda secret: (-len(secret), secret))

    def replace(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, names[secret])
        return text

    return replace


def _replaced(value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, Mapping):
        return {replace(str(name)): _replaced(item, replace) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, replace) for item in value)
    return value
