"""Text as a person would read it: one spelling for what may be written in many, and what hides behind an encoding.

Directives, values and the user's words are all compared in this form, so that no spelling tells them apart."""

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator, Mapping

try:
    from l07.domain.injection import spelling
except ImportError:  # no C compiler where this was installed
    spelling = None  # type: ignore[assignment]

COMPILED = spelling is not None
MOST_PAYLOADS = 32  # encoded tokens of one text that are looked into
MOST_LETTERS = 4  # that one character becomes, where `spelling.pyx` is to know it
MOST_PAYLOAD_CHARS = 20_000  # of one token

_QUOTES = "'\"`*\\\0"
# not seen on a screen: zero widths, joiners, direction marks, soft hyphen, variation selectors
_UNSEEN = (
    0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF
)  # fmt: skip
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # "ASCII smuggling": a second, invisible alphabet
_DROP = re.compile(f"[{re.escape(_QUOTES + ''.join(map(chr, _UNSEEN)))}\u2018\u2019\u201c\u201d]+")
_TAGGED = re.compile("[\U000e0020-\U000e007e]")
# letters that look Latin: Cyrillic, Greek, Armenian. Used in words that mix alphabets alone: Russian stays Russian
_LOOKALIKES = str.maketrans(
    "асԁеһіјӏоԛрԍѕԝухѵꙅкмтвнгіαβεικνορτυχωγοսօց",
    "acdehijloqpgswyxvskmtbhriabeikvoptuxwyouog",
)
_LATIN = re.compile(r"[a-z]")
_FOREIGN = re.compile(r"[Ͱ-ӿԀ-֏]")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPREAD = re.compile(r"(?<![^\W_])(?:[^\W_][ .\-_]){7,}[^\W_](?![^\W_])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){24,}")
_ROT13 = ("vtaber", "qvfertneq", "bireevqr", "vafgehpgvba", "cerivbhf", "nffvfgnag")  # ignore, disregard, override, ...
_WORD = re.compile(r"[^\W_]+")
_NO_WORD = {code: " " for code in range(0x80) if not chr(code).isalnum()}


def plain(text: str) -> str:
    """Lower case, one space for any run of blanks, no quotes or backslashes, no invisible characters, letters that
    look Latin inside a Latin word as Latin, escapes of JSON resolved."""
    sure = spelling.plain(text) if COMPILED else None
    return plain_of_any(text) if sure is None else sure


def plain_of_any(text: str) -> str:
    """`plain` in Python, which knows every character."""
    if "\\" in text:
        text = text.replace("\\n", " ").replace("\\t", " ").replace("\\r", " ")
        if "\\u" in text:
            text = _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), text)
    if text.isascii():
        for quote in _QUOTES:  # six looks for what is rarely there cost less than one translation
            text = text.replace(quote, "")
        text = " ".join(text.lower().split())
    else:
        if _SURROGATE.search(text):  # halves of a pair from two escapes, or what no encoding can hold
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFKC", _without_dropped(text))
        text = " ".join(_without_dropped(text.casefold()).split())
        if _FOREIGN.search(text):
            text = " ".join(_latin(word) for word in text.split(" "))
    return text


def _without_dropped(text: str) -> str:
    """A translation by a table costs ten times as much."""
    text = _DROP.sub("", text)
    return text.translate(_TAGS) if _TAGGED.search(text) else text


def _latin(word: str) -> str:
    """A word of two alphabets in one; a word of one alphabet as it is."""
    return word.translate(_LOOKALIKES) if _FOREIGN.search(word) and _LATIN.search(word) else word


_STEADY = (*range(0x300), *range(0x2000, 0x2C00))  # no other character composes with one of these
_BETWEEN = "\u4e2d"


def steady() -> Mapping[str, str]:
    """What the plain form of a character is, for those that have the same beside whatever others stand with them."""
    letters = [letter for letter in map(chr, _STEADY) if _is_steady(unicodedata.normalize("NFKC", letter).casefold())]
    spelt = plain_of_any(_BETWEEN.join(f"a{letter}b" for letter in letters)).split(_BETWEEN)
    return dict(zip(letters, (text[1:-1] for text in spelt), strict=True))


def _is_steady(becomes: str) -> bool:
    if " " in becomes or len(becomes) > MOST_LETTERS:
        return becomes == " "
    return not any(_FOREIGN.match(letter) or unicodedata.combining(letter) for letter in becomes)


if COMPILED:
    spelling.know(steady())


def words_in(text: str) -> list[str]:
    """Its runs of letters and digits, in their order."""
    return text.translate(_NO_WORD).split() if text.isascii() else _WORD.findall(text)


def closed(text: str) -> str:
    """S p r e a d words of a text in plain form as one word."""
    return _SPREAD.sub(_closed, text)


def _closed(found: "re.Match[str]") -> str:
    return re.sub(r"[ .\-_]", "", found.group())


def payloads(text: str) -> Iterator[str]:
    """What encoded parts of a tool's raw output say, where they say something readable: base64, hex, rot13."""
    for number, found in enumerate(_BASE64.finditer(text)):
        if number == MOST_PAYLOADS:
            break
        yield from _readable(_from_base64(found.group()[:MOST_PAYLOAD_CHARS]))
    for number, found in enumerate(_HEX.finditer(text)):
        if number == MOST_PAYLOADS:
            break
        yield from _readable(bytes.fromhex(found.group()[:MOST_PAYLOAD_CHARS]))
    lowered = text.lower()
    if any(word in lowered for word in _ROT13):
        yield codecs.encode(text, "rot13")


def _from_base64(token: str) -> bytes:
    standard = token.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard[: len(standard) // 4 * 4 or None])
    except binascii.Error:
        return b""


def _readable(raw: bytes) -> Iterator[str]:
    """Words with spaces in UTF-8; an image or a key is none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return
    if text.count(" ") * 15 >= len(text) > 0 and text.replace("\n", " ").isprintable():
        yield text
