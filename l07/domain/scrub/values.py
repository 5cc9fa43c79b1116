"""Is what stands beside a label (password, token, key) a value, or a word, a placeholder, a piece of code?"""

import re

from l07.domain.scrub.checks import entropy, mixed, random_like

LONGEST = 4096
_EMPTY = re.compile(
    r"(?i)(?:your|my|example|sample|dummy|placeholder|redacted|insert|replace|change[-_]?me|xxx|\.\.\.|\*{2}|<|\$[({]|\$[A-Z_]{3}"
    r"|\{|%\(|%[sdr]$|%[a-z_]+%|none\b|null\b|nil\b|true\b|false\b|undefined\b|process\.env|os\.|env[.\[]|self\.|args\.|config\.|settings\.|https?://)"
)
_CODE = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_WORD = re.compile(r"(?i)(?:[a-z]+[_.-])*(?:password|passwd|pwd|secret|token|key|auth|credentials?)[_-]?\d{0,2}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH = re.compile(r"(?:[.~]{0,2}/)?(?:[A-Za-z_.-]{2,}/){2,}[\w.-]*")
_QUERY = re.compile(r"&[A-Za-z_.-]+=.*", re.DOTALL)
_PAGING = re.compile(
    r"(?i)(?:page|next|sync|cursor|continuation|max|input|output|prompt|completion|total|csrf|pad|eos|bos|unk|mask|sep|cls|stop)[_ -]?token"
)
_TIGHT = re.compile(r"(?:[:=>|(\t][*_]*[\s\\fbru]*[\"'`]?|--?[\w-]+\s+[\"'`]?|[\"'`]|\s-[paw] ?)$")
_SAID = re.compile(r"(?i)\s(?:is|was|be|to|lautet|est|es)\s*:?\s+[\"'`]?$")


def trimmed(value: str) -> str:
    """Without what closes the sentence, the bracket or the query parameter around it; empty when it is too long."""
    if len(value) > LONGEST:
        return ""
    value = _QUERY.sub("", value)
    return value.rstrip(".,:;?]}" if "(" in value else ".,:;?)]}")


def _is_value(value: str) -> bool:
    return not (_EMPTY.match(value) or _CODE.match(value) or _WORD.fullmatch(value))


def password(value: str, before: str) -> str:
    """Letters with digits, or with a mark that no identifier has; behind a bare space it must look like nothing else."""
    value = trimmed(value)
    if len(value) < 6 or not _is_value(value) or _PATH.fullmatch(value):
        return ""
    marked = any(c in "!@#$%^&*+?=~" for c in value) and any(c.isalpha() for c in value)
    if _TIGHT.search(before) or _SAID.search(before):
        return value if mixed(value) or marked or _camel(value) else ""
    strong = marked or (any(c.isupper() for c in value) and len(value) >= 8) or sum(c.isdigit() for c in value) >= 3
    return value if mixed(value) and strong else ""


def piped(value: str, before: str) -> str:
    """What is fed to `sudo -S` can be nothing else."""
    return "" if _EMPTY.match(value) else value


def _camel(value: str) -> bool:
    """Capitals inside: no word of prose; two or more, with no separator of identifiers."""
    return len(value) >= 10 and sum(c.isupper() for c in value) >= 3 and value.isalpha() and not value.isupper()


def key(value: str, before: str) -> str:
    """For labels that mean a credential (api key, client secret): letters and digits, 8 or more."""
    value = trimmed(value)
    if len(value) < 8 or not mixed(value) or not _is_value(value):
        return ""
    if _TIGHT.search(before) or _SAID.search(before):
        return value if random_like(value) or not _PATH.fullmatch(value) else ""
    return value if random_like(value) else ""


def token(value: str, before: str) -> str:
    """For labels with other meanings too (token, secret): 16 or more that a generator made."""
    value = trimmed(value)
    if _PAGING.search(before) or not _is_value(value) or _PATH.fullmatch(value) or not random_like(value):
        return ""
    return "" if _UUID.fullmatch(value) and "secret" not in before.lower() else value


def bearer(value: str, before: str) -> str:
    value = trimmed(value)
    return value if len(value) >= 16 and mixed(value) and _is_value(value) else ""


def url_password(value: str, before: str) -> str:
    """Up to the last @ of the authority. Manuals write `password`, `pass`, `***`."""
    return "" if _EMPTY.match(value) or value.lower() in {"password", "pass", "pwd", "secret", "pw"} else value


def aws_secret(value: str, before: str) -> str:
    return value if mixed(value) and entropy(value) > 3.5 else ""
