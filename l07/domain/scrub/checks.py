"""The second look at what a pattern has found: checksums, ranges, and whether a value is a value."""

import base64
import binascii
import hashlib
import ipaddress
import math
import re
from collections import Counter
from itertools import pairwise

LENGTHS = {  # IBAN registry (SWIFT, release 99)
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
    "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22,
    "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
    "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27,
    "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})


def digits_of(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isdigit())


def luhn(text: str) -> bool:
    """The checksum of card numbers, over the digits of `text`; 13-19 of them, not all the same."""
    digits = [int(c) for c in digits_of(text)]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d * 2 - 9 * (d > 4) if place % 2 else d for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def card(value: str, before: str) -> str:
    """The longest run of whole blocks that passes Luhn: a number that follows the card ("4111... 1111 12") must not
    hide it. Cards begin with 2-6; the digits of an IBAN are none."""
    if re.search(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){0,3}[ -]?$", before):
        return ""
    blocks = [match.span() for match in re.finditer(r"[0-9]+", value)]
    spans = ((blocks[i][0], blocks[j][1]) for i in range(len(blocks)) for j in range(i, len(blocks)))
    good = (value[start:end] for start, end in spans if value[start] in "23456" and luhn(value[start:end]))
    return max(good, key=len, default="")


def iban(value: str, before: str) -> str:
    """As many characters as its country says, if they are 1 modulo 97 (ISO 13616)."""
    size = LENGTHS.get(value[:2].upper())
    at = [place for place, c in enumerate(value) if c.isalnum()]
    if size is None or len(at) < size:
        return ""
    found = value[: at[size - 1] + 1]
    plain = "".join(c for c in found if c.isalnum()).upper()
    return found if _mod97(plain[4:] + plain[:4]) == 1 else ""


def _mod97(plain: str) -> int:
    return int("".join(str(int(c, 36)) for c in plain)) % 97


def us_ssn(value: str, before: str) -> str:
    area, group, serial = value[:3], value[-7:-4].strip("- "), value[-4:]
    return "" if area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000" else value


def de_tax_id(value: str, before: str) -> str:
    """ISO 7064 MOD 11,10; one or two of the first ten digits stand more than once."""
    digits = digits_of(value)
    if len(digits) != 11 or digits[0] == "0" or not 7 <= len(set(digits[:10])) <= 9:
        return ""
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return value if (11 - product) % 10 == int(digits[10]) else ""


def icao_digit(text: str) -> str:
    """ICAO 9303: weights 7, 3, 1."""
    values = (0 if c == "<" else int(c, 36) for c in text.upper())
    return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)


def de_id_card(value: str, before: str) -> str:
    return value if icao_digit(value[:9]) == value[9] else ""


def mrz(value: str, before: str) -> str:
    """A passport's second line: number, birth and expiry each with its digit."""
    line = value[-44:]
    fields = (line[0:10], line[13:20], line[21:28])
    return value if all(icao_digit(field[:-1]) == field[-1] for field in fields) else ""


def uk_nhs(value: str, before: str) -> str:
    digits = digits_of(value)
    check = 11 - sum(int(d) * (10 - place) for place, d in enumerate(digits[:9])) % 11
    return value if len(digits) == 10 and str(check % 11) == digits[9] and check != 10 else ""


def fr_nir(value: str, before: str) -> str:
    """Month 1-12 (or the registry's 20-99), key 97 - number modulo 97; Corsica's 2A is 19 and 2B is 18."""
    plain = "".join(c for c in value if c.isalnum()).upper().replace("2A", "19").replace("2B", "18")
    if not plain.isdigit() or not (1 <= int(plain[3:5]) <= 12 or int(plain[3:5]) >= 20):
        return ""
    return value if 97 - int(plain[:13]) % 97 == int(plain[13:]) else ""


def es_dni(value: str, before: str) -> str:
    plain = "".join(c for c in value if c.isalnum()).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return value if number.isdigit() and _DNI[int(number) % 23] == plain[-1] else ""


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def codice_fiscale(value: str, before: str) -> str:
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in value.upper()]
    total = sum(_ODD[v] if place % 2 == 0 else v for place, v in enumerate(values[:15]))
    return value if total % 26 == values[15] else ""


def base58check(value: str, before: str) -> str:
    """Addresses and private keys of Bitcoin: the last four bytes are a double SHA-256 of the rest."""
    number = 0
    for c in value:
        number = number * 58 + _BASE58.index(c)
    data = b"\0" * (len(value) - len(value.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    sound = hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()[:4] == data[-4:]
    return value if sound and len(data) in (25, 37, 38) else ""


def bech32(value: str, before: str) -> str:
    """BIP 173 and BIP 350."""
    prefix, _, data = value.lower().partition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [_BECH32.find(c) for c in data]
    check = 1
    for one in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ one
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= term if top >> bit & 1 else 0
    return value if check in (1, 0x2BC830A3) else ""


def random_hex(value: str, before: str) -> str:
    return value if len(set(value.lower())) > 6 else ""


def public_ip(value: str, before: str) -> str:
    """A public address that is no well-known resolver; a version or a section has the same shape."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return ""
    said = before.lower().rstrip(" :=\"'")
    if (
        not address.is_global
        or address.is_multicast
        or value in _RESOLVERS
        or said.endswith(("v", "version", "section", "release"))
    ):
        return ""
    return "" if address.version == 4 and all(int(octet) < 20 for octet in value.split(".")) else value


def mac(value: str, before: str) -> str:
    return value if len(set(digits_and_letters(value))) > 2 else ""


def digits_and_letters(value: str) -> str:
    return "".join(c for c in value.lower() if c.isalnum())


def phone_e164(value: str, before: str) -> str:
    """8-15 digits behind the plus (ITU E.164), 11 with the country code 1. A sum (+1234567.89) is none, nor an id before
    one (order_002368 668.00)."""
    if _is_named(value, before) or re.fullmatch(r"00\d+ \d{1,5}\.\d{1,2}", value):
        return ""
    digits = digits_of(value).removeprefix("00")
    if not 8 <= len(digits) <= 15 or (digits[0] == "1" and len(digits) != 11) or re.fullmatch(r"\+\d+\.\d{1,3}", value):
        return ""
    return "" if len(set(digits)) < 3 else value


def phone_labelled(value: str, before: str) -> str:
    """7 digits only with a separator: seven in a row are an id."""
    digits = digits_of(value)
    small = 7 if re.search(r"\d[ ./-]\d", value) else 8
    return value if small <= len(digits) <= 15 and len(set(digits)) > 2 and not date_like(value) else ""


def date_like(value: str) -> bool:
    return bool(re.match(r"(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:19|20)\d\d", value))


def _is_named(value: str, before: str) -> bool:
    """The zeros of order_0023 are an id's."""
    return value.startswith("0") and before.endswith("_")


def phone_national(value: str, before: str) -> str:
    if _is_named(value, before):
        return ""
    return value if 9 <= len(digits_of(value)) <= 12 and len(set(digits_of(value))) > 2 else ""


def email(value: str, before: str) -> str:
    """Not the user of a git address or of a URL."""
    local = value.partition("@")[0].lower()
    return (
        "" if local in {"git", "hg", "svn"} or before.endswith("://") or re.search(r"://[^\s/@]*$", before) else value
    )


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts) if text else 0.0


def mixed(text: str) -> bool:
    """Letters and digits both."""
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


def random_like(text: str) -> bool:
    """No word, no path, no identifier: what a generator of tokens makes."""
    if len(text) < 16 or not mixed(text) or entropy(text) < 3.0:
        return False
    if len(text) >= 32 and entropy(text) > 4.2:
        return True
    changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(text))
    return changes >= 4


def basic_credentials(value: str, before: str) -> str:
    """Base64 of `user:password`."""
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return value if ":" in plain[1:] and plain.isprintable() else ""
