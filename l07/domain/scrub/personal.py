"""Rules for personal data that has a shape or a checksum of its own; what only a label tells is in `told`."""

from collections.abc import Callable, Iterator

from l07.domain.scrub import checks, told
from l07.domain.scrub.rules import Rule, compact, whole

_LETTER = r"[A-Za-z\x{80}-\x{10ffff}]"  # any letter beyond ASCII counts: classes of Unicode make an automaton slow
_WORD = r"[0-9A-Za-z_\x{80}-\x{10ffff}]"
_EDGE = "(?:^|[^0-9A-Za-z])"  # a gate that begins where a word does has few states
_NINO = "[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"


def _free(
    kind: str,
    pattern: str,
    gate: str,
    check: Callable[[str, str], str] = whole,
    *,
    no: str = "",
    same: Callable[[str], str] = compact,
    window: bool = False,
) -> Rule:
    """A value that stands alone: no letter, no digit and none of `no` beside it; a word and a colon may ("from:fe:d8:...")."""
    said = "|[A-Za-z_]*[G-Zg-z_][A-Za-z_]*:" if ":" in no else ""
    return Rule(
        kind,
        rf"(?:^|[^0-9A-Za-z{no}]{said})({pattern})(?:[^0-9A-Za-z{no}]|\z)",
        gate,
        check,
        same,
        personal=True,
        window=window,
    )


def _numbers() -> Iterator[Rule]:
    mrz = r"P[A-Z<][A-Z<]{3}[A-Z<]{39}[\s\\\x01]{1,40}[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9]"
    yield Rule("passport_mrz", rf"\b({mrz})", r"\bP[A-Z<]{43}", checks.mrz, personal=True)
    countries = "|".join(f"[{name[0]}{name[0].lower()}][{name[1]}{name[1].lower()}]" for name in checks.LENGTHS)
    iban = f"(?:{countries})[0-9]{{2}}"
    yield _free("iban", rf"{iban}(?:[ -]?[A-Za-z0-9]){{11,30}}", f"{_EDGE}{iban}", checks.iban, window=True)
    fiscal = "[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}"
    yield _free(
        "it_codice_fiscale", f"(?i:{fiscal}[A-Z][0-9LMNP-V]{{3}}[A-Z])", f"{_EDGE}(?i:{fiscal})", checks.codice_fiscale
    )
    nir = r"[1278] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"
    yield _free("fr_nir", nir, _EDGE + nir, checks.fr_nir)
    yield _free("us_ssn", "[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", "[0-9]{3}-[0-9]{2}-[0-9]{4}", checks.us_ssn, no="-")
    dni = r"(?:[0-9]{8}|[XYZ][ -]?[0-9]{7})[ -]?[A-HJ-NP-TV-Z]"
    yield _free("es_dni", dni, "[0-9]{7}[ -]?[A-HJ-NP-TV-Z]", checks.es_dni)
    nino = f"{_NINO}(?: [0-9]{{2}}){{3}} [A-D]|{_NINO}[0-9]{{6}}[A-D]"
    yield _free("uk_nino", nino, f"{_EDGE}(?:{nino})")
    tax = "[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}"
    yield _free("de_tax_id", tax, tax, checks.de_tax_id)


def _nets() -> Iterator[Rule]:
    yield _free(
        "bitcoin_address", "bc1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{11,71}", "bc1[a-z0-9]{8}", checks.bech32, same=str
    )
    base58 = "[13][1-9A-HJ-NP-Za-km-z]{25,34}"
    yield _free("bitcoin_address", base58, f"{_EDGE}[13][1-9A-HJ-NP-Za-km-z]{{25}}", checks.base58check, same=str)
    yield _free("ethereum_address", "0x[0-9a-fA-F]{40}", "0x[0-9a-fA-F]{8}", checks.random_hex)
    email = rf"({_WORD}(?:{_WORD}|[._%+'-])*@(?:{_WORD}(?:{_WORD}|-)*\.)+{_LETTER}{{2,24}})"
    yield Rule("email", email, r"@[^\x00-\x2c/:-@\[-^`{-\x7f]+\.", checks.email, str.lower, personal=True)
    pair = "[0-9A-Fa-f]{2}"
    yield _free(
        "mac_address",
        f"{pair}(?:(?::{pair}){{5}}|(?:-{pair}){{5}})",
        f"{pair}[:-]{pair}[:-]{pair}[:-]",
        checks.mac,
        no=":-",
    )
    ipv6 = "[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}"
    yield _free("ipv6", ipv6, "[23][0-9a-fA-F]{3}:[0-9a-fA-F:]", checks.public_ip, no=":", same=str.lower)
    ipv4 = r"(?:^|[^0-9A-Za-z.])((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?:[^0-9A-Za-z.]|\.\D|\.\z|\z)"
    yield Rule("ipv4", ipv4, r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", checks.public_ip, personal=True)


def _phones() -> Iterator[Rule]:
    """A plus or 00 and a country, or a national form with its separators; never 7 digits in a row."""
    world = r"(?:^|[^0-9A-Za-z+])((?:\+|00)[1-9][0-9]{0,3}(?:[ .\-/]{0,2}\(?[0-9]{1,5}\)?){1,6})(?:[^0-9A-Za-z]|\z)"
    yield Rule("phone_number", world, rf"\+[1-9]|{_EDGE}00[1-9]", checks.phone_e164, compact, personal=True)
    america = (
        r"\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}",
        "[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}",
        r"[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}",
    )
    gate = r"[2-9][0-9]{2}(?:[.-]|\) ?)[2-9][0-9]{2}[ .-][0-9]{4}"
    yield _national("|".join(america), gate)
    europe = (
        "0[1-9](?:[ .-][0-9]{2}){4}",  # France
        "0(?:20|1[0-9]{2,3}|7[0-9]{3}) [0-9]{3,4} ?[0-9]{3,4}",  # United Kingdom
        "0(?:1[567][0-9]|[2-9][0-9]{1,4})[ /-][0-9]{6,8}",  # Germany
    )
    yield _national("|".join(europe), rf"{_EDGE}0[1-9](?:(?:[ .-][0-9]{{2}}){{4}}|[0-9]{{0,4}}[ /-][0-9]{{3}})")


def _national(pattern: str, gate: str) -> Rule:
    edges = rf"(?:^|[^0-9A-Za-z+.\-/])({pattern})(?:[^0-9A-Za-z\-/]|\z)"
    return Rule("phone_number", edges, gate, checks.phone_national, compact, personal=True)


def personal() -> Iterator[Rule]:
    """In the order in which they claim what they find."""
    yield from _numbers()
    yield from told.numbers()
    yield from _nets()
    yield from _phones()
    yield from told.told()
    nhs = "[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}"
    yield _free("uk_nhs_number", nhs, nhs, checks.uk_nhs)
