"""Rules for personal data: what carries a checksum or a shape of its own, then what only a label tells.

A name or an address without a label is not found: no pattern can tell Paris Hilton from Paris, Hilton."""

import re
from collections.abc import Callable, Iterator

from l07.domain.scrub import checks
from l07.domain.scrub.rules import BETWEEN, SAID, Rule, compact, whole

_FREE = r"(?:^|[^0-9A-Za-z])"  # before a number that stands alone
_DIGIT_FREE = r"(?:[^0-9A-Za-z]|\z)"
_LETTER = r"[A-Za-z\x{80}-\x{10ffff}]"  # any letter beyond ASCII counts: classes of Unicode make an automaton slow
_WORD = r"[0-9A-Za-z_\x{80}-\x{10ffff}]"
_DATE = (
    r"(?:(?:19|20)[0-9]{2}[-/.](?:0?[1-9]|1[0-2])[-/.][0-3]?[0-9]|[0-3]?[0-9][-/. ][0-3]?[0-9][-/. ](?:19|20)?[0-9]{2}"
    r"|[0-3]?[0-9](?:st|nd|rd|th|\.)? (?:de )?\pL{3,10}\.? (?:de )?(?:19|20)[0-9]{2}|\pL{3,10} [0-3]?[0-9](?:st|nd|rd|th)?,? (?:19|20)[0-9]{2})"
)
_TEXT = r"(?:[^\"'`\\<>|,;=:(){}\[\]\n\x00\x01]|\b'\b|\\+u[0-9a-fA-F]{4})"
_NAME_LABEL = (
    r"(?i:(?:full|first|last|given|family|middle|maiden|birth|customer|client|patient|passenger|employee|guest|cardholder|card[ _-]?holder"
    r"|account[ _-]?holder|recipient|beneficiary|contact|emergency[ _-]?contact|legal)[ _-]?name|surname|vorname|nachname|nom de famille|apellidos?)"
)
_ADDRESS_LABEL = (
    r"(?i:(?:home|shipping|billing|delivery|mailing|postal|street|residential|private|customer|patient|permanent)[ _-]?address"
    r"|address[ _-]?(?:line[ _-]?)?[12]|my address|wohnanschrift|anschrift|adresse|domicilio)"
)
_PHONE_LABEL = r"(?i:(?:tele)?phone(?:[ _-]?(?:number|no|nr|num))?\.?|mobile(?:[ _-]?(?:number|no|phone))?|cell(?:[ _-]?(?:number|phone))?|\btel\.?|\bfax|handy|telefon(?:nummer)?|móvil|teléfono|whatsapp|call me (?:at|on|under))"
_PLACE_LABEL = r"(?i:(?:home|user|customer|client|my|his|her|patient|driver|employee|device|current|last[ _-]?known|live)[ _-]?(?:location|position|coordinates?|gps|lat[ _-]?l(?:o?ng|on)|geo(?:location)?))"
_BIRTH_LABEL = r"(?i:date[ _-]?of[ _-]?birth|birth[ _-]?da(?:te|y)|\bdob|born(?: on)?|geburtsdatum|geboren(?: am)?|date de naissance|né(?:e)? le|fecha de nacimiento|data di nascita)"
_TAX_LABEL = r"(?i:steuer[ _-]?id(?:entifikationsnummer)?(?:nr)?|steueridentifikationsnummer|id-?nr\.?|tax[ _-]?id(?:entification)?(?:[ _-]?(?:no|number))?|\btin)"
_ID_LABEL = r"(?i:(?:personal)?ausweis(?:[ _-]?(?:nummer|nr\.?))?|(?:national[ _-]?)?id(?:entity)?[ _-]?card(?:[ _-]?(?:number|no|nr))?)"
_PASSPORT_LABEL = r"(?i:passport(?:[ _-]?(?:number|no|nr|num|id))?\.?|reisepass(?:nummer)?|passeport|pasaporte)"


def _number(kind: str, pattern: str, gate: str, check: Callable[[str, str], str], before: str = _FREE) -> Rule:
    return Rule(kind, f"{before}({pattern}){_DIGIT_FREE}", gate, check, compact, personal=True)


def _labelled(kind: str, label: str, value: str, check: Callable[[str, str], str] = whole, same: Callable[[str], str] = compact, between: str = BETWEEN) -> Rule:
    return Rule(kind, f"{label}{between}{value}", label, check, same, personal=True)


_SQL = (["NOT"], ["NULL"], ["LIKE"], ["IN"], ["FROM"], ["DESC"], ["ASC"], ["AND"], ["OR"])
_FIRM = re.compile(r"\b(?:Company|Corporation|Corp|Inc|Ltd|LLC|GmbH|AG|Motors?|Group|Bank|University)\b")
_SENTENCE = re.compile(r"[.!?]\s+(?=[A-Z][a-z])|\s\||, (?:please|and|thanks|can|is|it)\b")


def _street(value: str, before: str) -> str:
    """A number and letters; without quotes up to the end of the sentence."""
    value = _SENTENCE.split(value, 1)[0].rstrip(" .,)")
    return value if checks.mixed(value) and len(value) >= 6 else ""


def _person(value: str, before: str) -> str:
    """One to five words, each with a capital; no sentence."""
    value = value.rstrip(" .")
    words = value.split()
    known = value.lower() in {"none", "null", "string", "unknown", "n/a"} or words[:1] in _SQL or _FIRM.search(value)
    return value if 1 <= len(words) <= 5 and all(w[0].isupper() for w in words) and not known and not any(c.isdigit() for c in value) else ""


def _passport(value: str, before: str) -> str:
    return value if any(c.isdigit() for c in value) else ""


def _numbers() -> Iterator[Rule]:
    yield Rule(
        "passport_mrz", r"\b(P[A-Z<][A-Z<]{3}[A-Z<]{39}[\s\\\x01]{1,40}[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9])",
        "P[A-Z<][A-Z<]{3}[A-Z]*<", checks.mrz, personal=True,
    )  # fmt: skip
    yield _number("iban", r"[A-Za-z]{2}[0-9]{2}(?:[ \-]?[A-Za-z0-9]){11,30}", r"[A-Za-z]{2}[0-9]{2}[ \-]?[A-Za-z0-9]{4}", checks.iban)
    yield _number(
        "it_codice_fiscale", r"(?i:[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])",
        "(?i:[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2})", checks.codice_fiscale,
    )  # fmt: skip
    yield _number(
        "fr_nir", r"[1278] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", "[1278] ?[0-9]{2} ?[0-9]{2} ?[0-9]", checks.fr_nir
    )
    yield _number("us_ssn", r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", "[0-9]{3}-[0-9]{2}-[0-9]{4}", checks.us_ssn, r"(?:^|[^0-9A-Za-z-])")
    yield _labelled("us_ssn", r"(?i:\bssn|social[ _-]?security(?:[ _-]?(?:number|no))?)", r"([0-8][0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{4})\b", checks.us_ssn)
    yield _number("es_dni", r"(?:[0-9]{8}|[XYZ][ -]?[0-9]{7})[ -]?[A-HJ-NP-TV-Z]", "[0-9]{7}[ -]?[A-HJ-NP-TV-Z]", checks.es_dni)
    yield _number("uk_nino", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: [0-9]{2}){3} [A-D]|[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]", "[A-Z]{2} ?[0-9]{2} ?[0-9]{2}", whole)
    yield _labelled("de_tax_id", _TAX_LABEL, r"([0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3})\b", checks.de_tax_id)
    yield _number("de_tax_id", r"[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}", "[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}", checks.de_tax_id)
    yield _labelled("de_id_card", _ID_LABEL, r"([CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}[0-9])\b", checks.de_id_card)
    yield _labelled("passport_number", _PASSPORT_LABEL, r"([A-Z]{0,2}[A-Z0-9]{6,9})\b", _passport)


def _nets() -> Iterator[Rule]:
    yield Rule("bitcoin_address", r"\b(bc1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{11,71})\b", "bc1[a-z0-9]{8}", checks.bech32, personal=True)
    yield Rule("bitcoin_address", r"\b([13][1-9A-HJ-NP-Za-km-z]{25,34})\b", "[13][1-9A-HJ-NP-Za-km-z]{25}", checks.base58check, personal=True)
    yield Rule("ethereum_address", r"\b(0x[0-9a-fA-F]{40})\b", "0x[0-9a-fA-F]{8}", checks.random_hex, str.lower, personal=True)
    yield Rule("email", rf"({_WORD}(?:{_WORD}|[._%+'-])*@(?:{_WORD}(?:{_WORD}|-)*\.)+{_LETTER}{{2,24}})", r"@[^\x00-\x2c/:-@\[-^`{-\x7f]+\.", checks.email, str.lower, personal=True)
    yield Rule("mac_address", r"(?:^|[^0-9A-Fa-f:-])([0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5}))(?:[^0-9A-Fa-f:-]|\z)", "[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]", checks.mac, compact, personal=True)
    yield Rule("ipv6", r"(?:^|[^0-9A-Za-z:.])([23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4})(?:[^0-9A-Za-z:]|\z)", "[23][0-9a-fA-F]{3}:[0-9a-fA-F:]", checks.public_ip, str.lower, personal=True)
    yield Rule("ipv4", r"(?:^|[^0-9A-Za-z.])((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?:[^0-9A-Za-z.]|\.\D|\.\z|\z)", r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", checks.public_ip, personal=True)


def _phones() -> Iterator[Rule]:
    kind = "phone_number"
    yield Rule(kind, r"(?:^|[^0-9A-Za-z+])((?:\+|00)[1-9][0-9]{0,3}(?:[ .\-/]{0,2}\(?[0-9]{1,5}\)?){1,6})(?:[^0-9A-Za-z]|\z)", r"\+[1-9]|\b00[1-9]", checks.phone_e164, compact, personal=True)
    edge, end = r"(?:^|[^0-9A-Za-z+.\-/])", r"(?:[^0-9A-Za-z\-/]|\z)"
    us = r"\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}|[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}|[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}"
    yield Rule(kind, f"{edge}({us}){end}", r"[2-9][0-9]{2}(?:[.-]|\) ?)[2-9][0-9]{2}[ .-][0-9]{4}", checks.phone_national, compact, personal=True)
    eu = r"0[1-9](?:[ .-][0-9]{2}){4}|0(?:20|1[0-9]{2,3}|7[0-9]{3}) [0-9]{3,4} ?[0-9]{3,4}|0(?:1[567][0-9]|[2-9][0-9]{1,4})[ /-][0-9]{6,8}"
    yield Rule(kind, f"{edge}({eu}){end}", r"\b0[1-9][0-9]{0,4}[ ./-][0-9]{2}", checks.phone_national, compact, personal=True)
    yield _labelled(kind, _PHONE_LABEL, r"([+(]?[0-9][0-9 ().\-/]{5,22}[0-9])(?:[^0-9A-Za-z]|\z)", checks.phone_labelled)


def _told() -> Iterator[Rule]:
    yield _labelled("date_of_birth", _BIRTH_LABEL, f"({_DATE})")
    yield _labelled("gps_position", _PLACE_LABEL, r"((?:lat[a-z]*\W{1,6})?-?[0-9]{1,2}\.[0-9]{3,8}°?[ ,;/NS]{1,3}\s?(?:\W{0,3}l(?:on|ng)[a-z]*\W{1,6})?-?[0-9]{1,3}\.[0-9]{3,8})")
    yield _labelled("person_name", _NAME_LABEL, f"({_TEXT}{{2,60}})", _person, str.lower, SAID)
    said = r"(?i:my (?:full )?name is|i am called|mein name ist|ich heiße|je m'appelle|me llamo)\s+"
    yield Rule("person_name", rf"{said}(\p{{Lu}}[\pL'’-]+(?: \p{{Lu}}[\pL'’.-]*){{0,3}})", said, _person, str.lower, personal=True)
    quoted = rf"{SAID}((?:[^\"\\<>|;{{}}\n\x00\x01]|\\+u[0-9a-fA-F]{{4}}){{5,120}})"
    yield Rule("postal_address", f"{_ADDRESS_LABEL}{quoted}", _ADDRESS_LABEL, _street, compact, personal=True)


def personal() -> Iterator[Rule]:
    """In the order in which they claim what they find."""
    yield from _numbers()
    yield from _nets()
    yield from _phones()
    yield _number("uk_nhs_number", r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}", "[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}", checks.uk_nhs)
    yield from _told()
