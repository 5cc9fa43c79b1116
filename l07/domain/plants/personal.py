"""Personal data with the shapes and checksums that its issuers give it; everything is made up."""

import random
import string
from collections.abc import Callable, Mapping

from l07.domain.plants.alphabets import (
    DIGITS,
    HEX,
    UPPER,
    base58check,
    bech32,
    grouped,
    iban,
    iso7064_11_10,
    mrz_check,
    number,
    of,
    with_luhn,
)  # fmt: skip

FIRST = (
    "Marta",
    "Jonas",
    "Aisha",
    "Liam",
    "Chloé",
    "Søren",
    "Yuki",
    "Rafael",
    "Ingrid",
    "Tomasz",
    "Zoë",
    "Omar",
    "Elena",
    "Björn",
)
LAST = (
    "Keller",
    "O'Brien",
    "Nakamura",
    "García",
    "Lindqvist",
    "Okafor",
    "Müller",
    "Dubois",
    "Kowalska",
    "Haddad",
    "Whitfield",
    "Moreau",
)
DOMAINS = (
    "brightmail.io",
    "kellerbau.de",
    "uni-lund.se",
    "northwind.co.uk",
    "proton.me",
    "gmail.com",
    "correo.es",
    "mail.acme-corp.com",
)
STREETS = ("Maple Street", "Station Road", "Elm Avenue", "Harbour Lane", "Kingsway", "Oak Drive")


def _ascii(name: str) -> str:
    table = str.maketrans({"é": "e", "ø": "o", "ë": "e", "ö": "o", "í": "i", "ü": "u", "'": ""})
    return name.translate(table).lower()


def _email(rng: random.Random) -> str:
    first, last = _ascii(rng.choice(FIRST)), _ascii(rng.choice(LAST))
    local = rng.choice(
        [
            f"{first}.{last}",
            f"{first}{rng.randint(1, 99)}",
            f"{first[0]}{last}",
            f"{first}_{last}+news",
            f"{last}-{first}",
        ]
    )
    return f"{local}@{rng.choice(DOMAINS)}"


def _us(rng: random.Random, form: str) -> str:
    area, exchange = (rng.choice("23456789") + of(rng, DIGITS[2:], 2) for _ in range(2))
    return form.format(area, exchange, of(rng, DIGITS, 4))


def _phone(rng: random.Random) -> str:
    return rng.choice(
        [
            _us(rng, "+1{}{}{}"), _us(rng, "+1 {} {} {}"), _us(rng, "+1 ({}) {}-{}"), _us(rng, "+1-{}-{}-{}"), _us(rng, "({}) {}-{}"),
            _us(rng, "{}-{}-{}"), _us(rng, "{}.{}.{}"), f"+49 1{rng.choice('567')}{of(rng, DIGITS, 1)} {number(rng, 7)}",
            f"+4930{number(rng, 7)}", f"+44 7{of(rng, DIGITS, 3)} {of(rng, DIGITS, 6)}", f"+44 20 {number(rng, 4)} {of(rng, DIGITS, 4)}",
            f"+33 6 {grouped(of(rng, DIGITS, 8), (2,), ' ')}", f"06 {grouped(of(rng, DIGITS, 8), (2,), ' ')}",
            f"+34 6{of(rng, DIGITS, 2)} {grouped(of(rng, DIGITS, 6), (3,), ' ')}", f"0049 171 {number(rng, 7)}",
            f"+91 9{of(rng, DIGITS, 4)} {of(rng, DIGITS, 5)}", f"+81-90-{of(rng, DIGITS, 4)}-{of(rng, DIGITS, 4)}",
        ]
    )  # fmt: skip


def _iban(rng: random.Random) -> str:
    country, account = rng.choice(
        [
            ("DE", of(rng, DIGITS, 18)), ("GB", of(rng, UPPER, 4) + of(rng, DIGITS, 14)),
            ("FR", of(rng, DIGITS, 10) + of(rng, UPPER + DIGITS, 11) + of(rng, DIGITS, 2)), ("ES", of(rng, DIGITS, 20)),
            ("NL", of(rng, UPPER, 4) + of(rng, DIGITS, 10)), ("CH", of(rng, DIGITS, 17)), ("NO", of(rng, DIGITS, 11)),
            ("IT", of(rng, UPPER, 1) + of(rng, DIGITS, 22)), ("PL", of(rng, DIGITS, 24)),
            ("MT", of(rng, UPPER, 4) + of(rng, DIGITS, 5) + of(rng, UPPER + DIGITS, 18)),
        ]
    )  # fmt: skip
    text = iban(country, account)
    return rng.choice([text, grouped(text, (4,), " "), grouped(text, (4,), "-"), text])


def _card(rng: random.Random) -> str:
    prefix, size = rng.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("37", 15), ("34", 15), ("6011", 16), ("30569", 14)]
    )
    digits = with_luhn(prefix + of(rng, DIGITS, size - len(prefix) - 1))
    sizes = (4, 6, 5) if size == 15 else (4, 6, 4) if size == 14 else (4,)
    return rng.choice([digits, grouped(digits, sizes, " "), grouped(digits, sizes, "-")])


def _ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def _de_tax(rng: random.Random) -> str:
    """Ten digits in which one stands twice (the rule until 2015) and a check digit."""
    digits = rng.sample(DIGITS, 9)
    digits.insert(rng.randint(1, 9), rng.choice(digits))
    if digits[0] == "0":
        digits[0], digits[-1] = digits[-1], digits[0]
    first = "".join(digits) if digits[0] != "0" else "1" + "".join(digits[1:])
    text = first + iso7064_11_10(first)
    return rng.choice([text, grouped(text, (2, 3), " ")])


def _de_id_card(rng: random.Random) -> str:
    alphabet = DIGITS + "CFGHJKLMNPRTVWXYZ"
    text = rng.choice("CFGHJKLMNPRTVWXYZ") + of(rng, alphabet, 8)
    return text + mrz_check(text)


def _nino(rng: random.Random) -> str:
    first = rng.choice(["AB", "CE", "HJ", "JK", "LM", "PR", "SN", "WX", "ZT"])
    digits, last = of(rng, DIGITS, 6), rng.choice("ABCD")
    return rng.choice([f"{first}{digits}{last}", f"{first} {grouped(digits, (2,), ' ')} {last}"])


def _nhs(rng: random.Random) -> str:
    while True:
        digits = number(rng, 9)
        check = 11 - sum(int(d) * (10 - place) for place, d in enumerate(digits)) % 11
        if check != 10:
            return grouped(f"{digits}{check % 11}", (3, 3, 4), rng.choice([" ", "-"]))


def _nir(rng: random.Random) -> str:
    body = f"{rng.choice('12')}{rng.randint(40, 99)}{rng.randint(1, 12):02}{rng.randint(1, 95):02}{rng.randint(1, 900):03}{rng.randint(1, 999):03}"
    text = f"{body}{97 - int(body) % 97:02}"
    return rng.choice([text, grouped(text, (1, 2, 2, 2, 3, 3, 2), " ")])


def _dni(rng: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    digits = of(rng, DIGITS, 8)
    if rng.random() < 0.4:
        first, seven = rng.choice("XYZ"), digits[1:]
        return f"{first}{seven}{letters[int(str('XYZ'.index(first)) + seven) % 23]}"
    return f"{digits}{rng.choice(['', '-'])}{letters[int(digits) % 23]}"


_ODD = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
)  # fmt: skip


def _codice_fiscale(rng: random.Random) -> str:
    body = (
        of(rng, "BCDFGLMNPRSTVZ", 6)
        + of(rng, DIGITS, 2)
        + rng.choice("ABCDEHLMPRST")
        + f"{rng.randint(1, 31):02}{rng.choice('ABCDEFGHIL')}{of(rng, DIGITS, 3)}"
    )
    odd = dict(zip(DIGITS + UPPER, _ODD, strict=True))
    total = sum(odd[c] if place % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for place, c in enumerate(body))
    return body + UPPER[total % 26]


def _mrz(rng: random.Random) -> str:
    """The two lines of a passport, TD3."""
    last, first = _ascii(rng.choice(LAST)).upper(), _ascii(rng.choice(FIRST)).upper()
    country = rng.choice(["D<<", "GBR", "FRA", "ESP", "USA", "UTO"])
    top = f"P<{country}{last}<<{first}".ljust(44, "<")
    paper = of(rng, UPPER + DIGITS, 9)
    born, until = (
        f"{rng.randint(40, 99)}0{rng.randint(1, 9)}{rng.randint(10, 28)}",
        f"{rng.randint(26, 35)}1{rng.randint(0, 2)}{rng.randint(10, 28)}",
    )
    sex, own = rng.choice("MF<"), "<" * 14
    fields = (paper + mrz_check(paper), born + mrz_check(born), until + mrz_check(until), own + "0")
    return f"{top}\n{fields[0]}{country}{fields[1]}{sex}{fields[2]}{fields[3]}{mrz_check(''.join(fields))}"


def _ipv4(rng: random.Random) -> str:
    return f"{rng.choice([23, 45, 62, 84, 91, 109, 151, 178, 185, 195, 212])}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def _ipv6(rng: random.Random) -> str:
    head = rng.choice(["2a02", "2001:4860", "2600", "2a01", "2607"])
    rest = [f"{rng.randint(1, 65535):x}" for _ in range(7 - head.count(":"))]
    return rng.choice([":".join((head, *rest)), f"{head}:{rest[0]}:{rest[1]}::{rest[2]}"])


def _mac(rng: random.Random) -> str:
    octets = [f"{rng.randint(0, 255):02x}" for _ in range(6)]
    return rng.choice([":".join(octets), "-".join(octets).upper(), ":".join(octets).upper()])


def _bitcoin(rng: random.Random) -> str:
    return rng.choice(
        [
            base58check(b"\x00" + rng.randbytes(20)),
            base58check(b"\x05" + rng.randbytes(20)),
            bech32("bc", rng.randbytes(20)),
        ]
    )


def _gps(rng: random.Random) -> str:
    return f"{rng.uniform(-60, 70):.{rng.choice([4, 5, 6])}f}, {rng.uniform(-179, 179):.{rng.choice([4, 5, 6])}f}"


def _birth(rng: random.Random) -> str:
    year, month, day = rng.randint(1935, 2010), rng.randint(1, 12), rng.randint(1, 28)
    name = ("January", "March", "April", "June", "September", "November")[month // 2 % 6]
    return rng.choice(
        [
            f"{year}-{month:02}-{day:02}",
            f"{day:02}.{month:02}.{year}",
            f"{month}/{day}/{year}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
        ]
    )


def _name(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def _address(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.randint(1, 999)} {rng.choice(STREETS)}, {rng.choice(['Portland, OR', 'Austin, TX'])} {of(rng, DIGITS, 5)}",
            f"{rng.choice(['Lindenstraße', 'Hauptstr.', 'Am Markt', 'Goethestraße'])} {rng.randint(1, 180)}, "
            f"{of(rng, DIGITS, 5)} {rng.choice(['Berlin', 'Köln', 'Leipzig'])}",
            f"{rng.randint(1, 99)} {rng.choice(STREETS)}, London {rng.choice(['SW1A 2AA', 'N7 8QJ', 'EC2V 7HH'])}",
            f"{rng.randint(1, 150)} rue {rng.choice(['de la Paix', 'Victor Hugo', 'des Lilas'])}, 750{rng.randint(1, 20):02} Paris",
        ]
    )  # fmt: skip


def _passport(rng: random.Random) -> str:
    return rng.choice(
        [
            of(rng, DIGITS, 9),
            rng.choice(string.ascii_uppercase) + of(rng, DIGITS, 8),
            "C" + of(rng, "CFGHJKLMNPRTVWXYZ" + DIGITS, 8),
        ]
    )


PERSONAL: Mapping[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone_number": _phone,
    "iban": _iban,
    "card_number": _card,
    "us_ssn": _ssn,
    "de_tax_id": _de_tax,
    "de_id_card": _de_id_card,
    "uk_nino": _nino,
    "uk_nhs_number": _nhs,
    "fr_nir": _nir,
    "es_dni": _dni,
    "it_codice_fiscale": _codice_fiscale,
    "passport_number": _passport,
    "passport_mrz": _mrz,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "mac_address": _mac,
    "bitcoin_address": _bitcoin,
    "ethereum_address": lambda rng: "0x" + of(rng, rng.choice([HEX, DIGITS + "abcdefABCDEF"]), 40),
    "gps_position": _gps,
    "date_of_birth": _birth,
    "person_name": _name,
    "postal_address": _address,
}
