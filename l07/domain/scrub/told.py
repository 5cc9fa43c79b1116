"""Rules for personal data that only a label tells: names, addresses, dates of birth, places, numbers without a telling
shape.

A name or an address without a label is not found: no pattern can tell Paris Hilton from Paris, Hilton."""

import re
from collections.abc import Callable, Iterator

from l07.domain.scrub import checks
from l07.domain.scrub.rules import NEAR, SAID, Rule, compact, whole


def _words(text: str, before: str = "") -> str:
    """Labels in any case; a space stands for a space, "_", "-" or nothing."""
    return rf"(?i:{before}(?:{'|'.join(word.replace('~', '[ _-]?') for word in text.split())}))"


_NAME = _words(
    "(?:full|first|last|given|family|middle|maiden|birth|customer|client|patient|passenger|employee|guest|cardholder|card~holder"
    r"|account~holder|recipient|beneficiary|contact|emergency~contact|legal)~name surname vorname nachname nom\x20de\x20famille apellidos?"
)
_ADDRESS = _words(
    "(?:home|shipping|billing|delivery|mailing|postal|street|residential|private|customer|patient|permanent|my)~address"
    " address~(?:line~)?[12] wohnanschrift anschrift adresse domicilio"
)
_PHONE = _words(
    r"(?:tele)?phone(?:~(?:number|no|nr|num))?\.? mobile(?:~(?:number|no|phone))? cell(?:~(?:number|phone))? \btel\.? \bfax handy"
    r" telefon(?:nummer)? móvil teléfono whatsapp call\x20me\x20(?:at|on|under)"
)
_PLACE = _words(
    "(?:home|user|customer|client|my|his|her|patient|driver|employee|device|current|last~known|live)"
    "~(?:location|position|coordinates?|gps|lat~l(?:o?ng|on)|geo(?:location)?)"
)
_BIRTH = _words(
    r"date~of~birth birth~da(?:te|y) \bdob born(?:\x20on)? geburtsdatum geboren(?:\x20am)? date\x20de\x20naissance née?\x20le"
    r" fecha\x20de\x20nacimiento data\x20di\x20nascita"
)
_TAX = _words(r"steuer~id(?:entifikationsnummer)?(?:nr)? id-?nr\.? tax~id(?:entification)?(?:~(?:no|number))? \btin")
_ID_CARD = _words(r"(?:personal)?ausweis(?:~(?:nummer|nr\.?))? (?:national~)?id(?:entity)?~card(?:~(?:number|no|nr))?")
_PASSPORT = _words(r"passport(?:~(?:number|no|nr|num|id))?\.? reisepass(?:nummer)? passeport pasaporte")
_SSN = _words(r"\bssn social~security(?:~(?:number|no))?")
_DATE = "|".join(
    (
        "(?:19|20)[0-9]{2}[-/.](?:0?[1-9]|1[0-2])[-/.][0-3]?[0-9]",
        "[0-3]?[0-9][-/. ][0-3]?[0-9][-/. ](?:19|20)?[0-9]{2}",
        r"[0-3]?[0-9](?:st|nd|rd|th|\.)? (?:de )?\pL{3,10}\.? (?:de )?(?:19|20)[0-9]{2}",
        r"\pL{3,10} [0-3]?[0-9](?:st|nd|rd|th)?,? (?:19|20)[0-9]{2}",
    )
)
_MARK = r"[^\w\x00]"
_POSITION = (
    rf"(?:lat[a-z]*{_MARK}{{1,6}})?-?[0-9]{{1,2}}\.[0-9]{{3,8}}°?[ ,;/NS]{{1,3}}\s?(?:{_MARK}{{0,3}}l(?:on|ng)[a-z]*{_MARK}{{1,6}})?"
    r"-?[0-9]{1,3}\.[0-9]{3,8}"
)
_ESCAPE = r"\\+u[0-9a-fA-F]{4}"  # é as JSON may write it
_IN_NAME = rf"(?:[^\"'`\\<>|,;=:(){{}}\[\]\n\x00\x01]|\b'\b|{_ESCAPE})"
_IN_ADDRESS = rf"(?:[^\"\\<>|;{{}}\n\x00\x01]|{_ESCAPE})"
_END = r"(?:[^0-9A-Za-z]|\z)"
_EMPTY = frozenset({"none", "null", "string", "unknown", "n/a"})
_PARTICLES = frozenset("al bin da de del den der di el la le van von y zu".split())
_SQL = frozenset({"NOT", "NULL", "LIKE", "IN", "FROM", "DESC", "ASC", "AND", "OR"})
_FIRM = re.compile(r"\b(?:Company|Corporation|Corp|Inc|Ltd|LLC|GmbH|AG|Motors?|Group|Bank|University)\b")
_SENTENCE = re.compile(r"(?<=\w{3})[.!?]\s+(?=[A-Z])|\s\||, (?:please|and|thanks|can|is|it)\b")


def _labelled(
    kind: str,
    label: str,
    value: str,
    check: Callable[[str, str], str] = whole,
    *,
    between: str = NEAR,
    end: str = "",
    same: Callable[[str], str] = compact,
) -> Rule:
    return Rule(kind, f"{label}{between}({value}){end}", label, check, same, personal=True)


def _street(value: str, before: str) -> str:
    """A number and letters; without quotes up to the end of the sentence."""
    value = _SENTENCE.split(value, 1)[0].rstrip(" .,)'")
    return value if checks.mixed(value) and len(value) >= 6 else ""


def _person(value: str, before: str) -> str:
    """One to five words, each with a capital (or a particle between such); of a sentence its beginning, if that is two or
    more. No firm."""
    words = _SENTENCE.split(value, 1)[0].rstrip(" .?!*").split()
    size = next((n for n, word in enumerate(words) if not (word[0].isupper() or word in _PARTICLES)), len(words))
    while size and words[size - 1] in _PARTICLES:
        size -= 1
    name = " ".join(words[:size])
    if not 1 <= size <= 5 or (size == 1 < len(words)) or words[0] in _SQL or name.lower() in _EMPTY:
        return ""
    return name if name in value and not checks.digits_of(name) and not _FIRM.search(name) else ""


def _with_digit(value: str, before: str) -> str:
    return value if checks.digits_of(value) else ""


def numbers() -> Iterator[Rule]:
    """Numbers beside the name of what they are."""
    yield _labelled("us_ssn", _SSN, "[0-8][0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{4}", checks.us_ssn, end=_END)
    yield _labelled("de_tax_id", _TAX, "[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", checks.de_tax_id, end=_END)
    yield _labelled(
        "de_id_card", _ID_CARD, "[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}[0-9]", checks.de_id_card, end=_END
    )
    yield _labelled("passport_number", _PASSPORT, "[A-Z]{0,2}[A-Z0-9]{6,9}", _with_digit, end=_END)


def told() -> Iterator[Rule]:
    """What else people say of themselves."""
    yield _labelled("phone_number", _PHONE, r"[+(]?[0-9][0-9 ().\-/]{5,22}[0-9]", checks.phone_labelled, end=_END)
    yield _labelled("date_of_birth", _BIRTH, _DATE)
    yield _labelled("gps_position", _PLACE, _POSITION)
    yield _labelled("person_name", _NAME, f"{_IN_NAME}{{2,60}}", _person, between=SAID, same=str.lower)
    said = r"(?i:my (?:full )?name is|i am called|mein name ist|ich heiße|je m'appelle|me llamo)\s+"
    name = r"(\p{Lu}[\pL'’-]+(?: \p{Lu}[\pL'’.-]*){0,3})"
    yield Rule("person_name", said + name, said, _person, str.lower, personal=True)
    yield _labelled("postal_address", _ADDRESS, f"{_IN_ADDRESS}{{5,120}}", _street, between=SAID)
