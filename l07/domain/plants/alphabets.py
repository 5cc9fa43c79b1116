"""Letters, digits and checksums that planted values are made of. It shares no code with the scrub."""

import base64
import hashlib
import random
import string

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = string.ascii_letters + DIGITS
LOWNUM = LOWER + DIGITS
HEX = DIGITS + "abcdef"
URLSAFE = ALNUM + "-_"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
SYMBOLS = "!@#$%^&*+?-_"


def of(rng: random.Random, alphabet: str, size: int) -> str:
    """`size` letters of the alphabet."""
    return "".join(rng.choices(alphabet, k=size))


def number(rng: random.Random, size: int) -> str:
    """A number of `size` digits that does not begin with 0."""
    return rng.choice("123456789") + of(rng, DIGITS, size - 1)


def b64(rng: random.Random, size: int) -> str:
    """Base64 of `size` random bytes."""
    return base64.b64encode(rng.randbytes(size)).decode()


def b64url(data: bytes) -> str:
    """Base64 of JWTs: URL-safe, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_luhn(digits: str) -> str:
    """The digits and their Luhn check digit (ISO/IEC 7812)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return f"{digits}{-total % 10}"


def iban(country: str, account: str) -> str:
    """The IBAN of a national account number (ISO 13616: the whole is 1 modulo 97)."""
    rest = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    return f"{country}{98 - rest % 97:02}{account}"


def grouped(text: str, sizes: tuple[int, ...], by: str) -> str:
    """The text in blocks of these sizes; the last size repeats."""
    blocks: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[min(len(blocks), len(sizes) - 1)]
        blocks.append(text[at : at + size])
        at += size
    return by.join(blocks)


def base58check(payload: bytes) -> str:
    """Bitcoin's base58 with a checksum of two SHA-256."""
    data = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def bech32(prefix: str, program: bytes) -> str:
    """A version 0 witness address (BIP 173)."""
    bits = int.from_bytes(program, "big") << (-len(program) * 8 % 5)
    count = -(-len(program) * 8 // 5)
    data = [0, *((bits >> 5 * place) & 31 for place in reversed(range(count)))]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = 1
    for value in (*expanded, *data, 0, 0, 0, 0, 0, 0):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    check ^= 1
    return f"{prefix}1" + "".join(BECH32[v] for v in (*data, *((check >> 5 * (5 - i)) & 31 for i in range(6))))


def mrz_check(text: str) -> str:
    """The check digit of ICAO 9303: weights 7, 3, 1."""
    values = (0 if c == "<" else int(c, 36) for c in text)
    return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)


def iso7064_11_10(digits: str) -> str:
    """The check digit of ISO 7064 MOD 11,10 (German tax number)."""
    product = 10
    for digit in digits:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return str((11 - product) % 10)
