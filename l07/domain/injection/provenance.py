"""Where the arguments of a call come from: whether a value was first read in a directive passage of a tool's output, and
whether the user asked for such a call."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from l07.domain.injection.disguise import plain

LONGEST = 400  # characters of a value that is looked for as a whole; of longer ones the names within count

_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{3,255}|(?:https?://|www\.)[^\s,;()<>]{4,200}")
_CODE = re.compile(r"(?=[a-z_.-]{0,30}[0-9])[a-z0-9][\w.-]{5,63}")  # account numbers, orders, file names with a number
_DIGITS = frozenset("0123456789")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?:[t ]\d\d?:\d\d.*)?|\d\d?[:.]\d\d(?: ?[ap]m)?|\d\d?[./]\d\d?[./]\d{2,4}")
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EDGE = " .,:;!?()[]{}<>|=~^%$&-_\u2026\u3002"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the assistant: its tool, and how many tool outputs the agent had read."""

    name: str
    arguments: Any
    read: int


def values_of(arguments: Any) -> Iterator[str]:
    """Every value that can prove something, in plain form, once: leaves of lists and objects, and the addresses, links
    and numbers inside longer texts. No booleans, dates, short words or small numbers: they are everywhere."""
    seen: set[str] = set()
    for leaf in _leaves(arguments):
        text = plain(leaf)
        for value in (*([text] if len(text) <= LONGEST else []), *_names_in(text)):
            value = value.strip(_EDGE)
            if value not in seen and weight_of(value):
                seen.add(value)
                yield value


def _names_in(text: str) -> Iterator[str]:
    if "@" in text or "://" in text or "www." in text:
        yield from _ADDRESS.findall(text)
    if not _DIGITS.isdisjoint(text):
        yield from _CODE.findall(text)


def _leaves(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list | tuple):
            waiting.extend(reversed(item))
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield _number(item)


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def weight_of(value: str) -> float:
    """How much it says that two texts share this value, 0-1."""
    if len(value) < 4 or _DATE.fullmatch(value):
        return 0.0
    if value.replace(".", "", 1).replace("-", "", 1).isdigit():
        digits = len(value.strip("-0.").replace(".", ""))
        return 1.0 if digits >= 8 else 0.6 if digits >= 4 or len(value) >= 5 else 0.0
    if "@" in value or "/" in value or " " in value or any(map(str.isdigit, value)):
        return 1.0 if len(value) >= 6 else 0.6
    return 1.0 if not value.isascii() or "_" in value or len(value) >= 12 else 0.6


def said_in(value: str, text: str) -> bool:
    """Whether the text has the value as a whole: not inside a longer word or number."""
    at = text.find(value)
    for _ in range(16):
        if at < 0:
            return False
        end = at + len(value)
        left, right = text[at - 1 : at], text[end : end + 1]
        if not (left.isalnum() and value[0].isalnum()) and not (right.isalnum() and value[-1].isalnum()):
            return True
        at = text.find(value, at + 1)
    return False


# ------------------------------------------------------------------ what was asked for

_ACTS: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "send mail email e-mail forward write reply respond message text notify tell inform post share schick senden envoyer enviar отправ 发送",
        "send pay transfer wire refund return deposit donate buy purchase order settle spend give zahl überweis payer pagar перевед",
        "update change modify adjust edit correct fix set replace rename move reschedule switch convert increase raise reset ändern modifier cambiar измен",
        "create add make new schedule plan insert put write append open file save set book block remind start erstellen créer crear созда",
        "delete remove cancel clear drop erase clean purge discard lösch supprimer borrar eliminar удал",
        "reserve book reservation booking rent hire accommodation stay order reservier réserver reservar заброни",
        "invite add include bring join onboard einladen inviter invitar приглас",
        "share grant give permission access allow collaborate publish open",
        "upload submit publish post put attach",
        "execute run install deploy launch start perform",
        "subscribe sign register enroll join",
        "approve assign merge close escalate accept resolve",
        "unsubscribe leave cancel stop",
        "rate review rating",
    )
)
EFFECTS = frozenset(
    "send pay transfer wire refund deposit donate buy purchase order update change modify adjust edit set replace rename move reset "
    "create add make schedule insert append write save delete remove cancel clear drop erase purge reserve book rent hire invite share "
    "grant revoke upload submit publish post execute run install deploy subscribe register approve assign merge close escalate forward "
    "reply email message put patch rate unsubscribe leave exec shell disable enable".split()
)  # fmt: skip
_READS = frozenset(
    "get read list search find show fetch query lookup view check describe calculate think count".split()
)
_EMPTY = frozenset(
    "a an the to of in on for and or by with from at my me user users tool api function data id ids info information all".split()
)


def words_of(text: str) -> frozenset[str]:
    """The stems of a text's words, so that "booked" is "book" and "payments" is "payment"."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower())) - _EMPTY


def name_words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(_CAMEL.sub(" ", name).lower()))


@lru_cache(maxsize=10_000)
def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 4 else word


_STEMMED = tuple(frozenset(_stem(word) for word in act) for act in _ACTS)
_STEM_EFFECTS = frozenset(_stem(word) for word in EFFECTS)
_STEM_READS = frozenset(_stem(word) for word in _READS)


@lru_cache(maxsize=1000)
def has_effect(name: str) -> bool:
    """Whether a tool of this name changes something. A name that says nothing may: only a reader's name acquits."""
    words = [_stem(word) for word in name_words(name)]
    return not words or words[0] not in _STEM_READS


def asked_for(name: str, asked: frozenset[str]) -> float:
    """How far the user's words ask for such a tool, 0-1: its deed counts half, what the deed is done to the other."""
    words = {_stem(word) for word in name_words(name)} - _EMPTY
    deeds = words & _STEM_EFFECTS
    things = words - deeds
    said = any(deed in asked or any(deed in act and act & asked for act in _STEMMED) for deed in deeds)
    shared = bool(things & asked)
    if not deeds:
        return 1.0 if shared else 0.0
    return (0.5 if said else 0.0) + (0.5 if shared or not things else 0.0)
