"""Secrets with the shapes that their issuers give them."""

import base64
import json
import random
from collections.abc import Callable, Mapping

from l07.domain.plants.alphabets import (
    ALNUM,
    BASE58,
    DIGITS,
    HEX,
    LOWER,
    LOWNUM,
    SYMBOLS,
    UPPER,
    URLSAFE,
    b64,
    b64url,
    base58check,
    of,
)

WORDS = (
    "amber", "badger", "cedar", "delta", "ember", "falcon", "granite", "harbor", "indigo", "juniper", "kestrel", "lagoon",
    "maple", "nectar", "orchid", "pepper", "quartz", "raven", "saffron", "tundra", "umbra", "velvet", "willow", "zephyr",
)  # fmt: skip
Maker = Callable[[random.Random], str]


def _pem(label: str, size: tuple[int, int], head: str = "") -> Maker:
    def make(rng: random.Random) -> str:
        body = head + b64(rng, rng.randint(*size))
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"))

    return make


def _private_key(rng: random.Random) -> str:
    label, size = rng.choice(
        [("RSA PRIVATE KEY", (1190, 1194)), ("PRIVATE KEY", (1214, 1220)), ("EC PRIVATE KEY", (118, 122)),
         ("ENCRYPTED PRIVATE KEY", (1300, 1320)), ("DSA PRIVATE KEY", (444, 448))]
    )  # fmt: skip
    return _pem(label, size, "MI")(rng)


def _pgp_key(rng: random.Random) -> str:
    body = "lQOYBG" + b64(rng, rng.randint(700, 1400))
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    head = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
    version = rng.choice([("Version: GnuPG v2", ""), ("",)])
    return "\n".join((head, *version, *lines, f"={of(rng, ALNUM, 4)}", "-----END PGP PRIVATE KEY BLOCK-----"))


def _github(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"github_pat_{of(rng, ALNUM, 22)}_{of(rng, ALNUM, 59)}"
    return f"gh{rng.choice('pousr')}_{of(rng, ALNUM, 36)}"


def _slack(rng: random.Random) -> str:
    first, second = of(rng, DIGITS, rng.randint(11, 13)), of(rng, DIGITS, rng.randint(11, 13))
    return rng.choice(
        [f"xoxb-{first}-{second}-{of(rng, ALNUM, 24)}", f"xoxp-{first}-{second}-{second}-{of(rng, HEX, 32)}",
         f"xapp-1-A0{of(rng, UPPER + DIGITS, 9)}-{first}-{of(rng, HEX, 64)}"]
    )  # fmt: skip


def _openai(rng: random.Random) -> str:
    old = f"sk-{of(rng, ALNUM, 20)}T3BlbkFJ{of(rng, ALNUM, 20)}"
    new = f"sk-{rng.choice(['proj', 'svcacct', 'admin'])}-{of(rng, URLSAFE, 74)}T3BlbkFJ{of(rng, URLSAFE, 74)}"
    return rng.choice([old, new, f"sk-proj-{of(rng, URLSAFE, 58)}T3BlbkFJ{of(rng, URLSAFE, 58)}"])


def _jwt(rng: random.Random) -> str:
    head = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    if rng.random() < 0.5:
        head["kid"] = of(rng, ALNUM, 12)
    body = {"sub": of(rng, DIGITS, 10), "iat": rng.randint(1600000000, 1800000000), "scope": "read write"}
    parts = (json.dumps(part, separators=(",", ":")).encode() for part in (head, body))
    return ".".join((*map(b64url, parts), b64url(rng.randbytes(rng.choice([32, 64, 256])))))


def password(rng: random.Random) -> str:
    """As people and generators make them: words with digits and marks, or 12-20 characters at random."""
    word = rng.choice(WORDS)
    return rng.choice(
        [
            word.capitalize() + of(rng, DIGITS, rng.randint(2, 4)) + rng.choice(SYMBOLS[:8]),
            f"{word.capitalize()}{rng.choice(WORDS).capitalize()}{of(rng, DIGITS, 2)}",
            of(rng, ALNUM + SYMBOLS[:8], rng.randint(12, 20)) + rng.choice(DIGITS) + rng.choice(LOWER),
            f"{word}{of(rng, DIGITS, 4)}",
            f"{word[0].upper()}@{word[1:]}#{of(rng, DIGITS, 3)}",
        ]
    )


def url_password(rng: random.Random) -> str:
    """What stands in a URL without escapes."""
    return rng.choice(WORDS).capitalize() + of(rng, ALNUM + "-_.!", rng.randint(6, 14)) + rng.choice(DIGITS)


def _api_key(rng: random.Random) -> str:
    return rng.choice(
        [
            of(rng, HEX, 32),
            of(rng, HEX, 40),
            of(rng, ALNUM, rng.randint(20, 44)) + rng.choice(DIGITS),
            f"{of(rng, HEX, 8)}-{of(rng, HEX, 4)}-4{of(rng, HEX, 3)}-a{of(rng, HEX, 3)}-{of(rng, HEX, 12)}",
            of(rng, URLSAFE, 43) + rng.choice(DIGITS),
            b64(rng, 32),
        ]
    )


def _basic(rng: random.Random) -> str:
    return base64.b64encode(f"{rng.choice(WORDS)}{rng.randint(1, 99)}:{password(rng)}".encode()).decode()


def _shape(*parts: str | tuple[str, int]) -> Maker:
    """Literal pieces, and (alphabet, size) pieces."""
    return lambda rng: "".join(part if isinstance(part, str) else of(rng, *part) for part in parts)


def _one_of(*makers: Maker) -> Maker:
    return lambda rng: rng.choice(makers)(rng)


BASE64 = ALNUM + "+/"
SECRETS: Mapping[str, Maker] = {
    "private_key": _private_key,
    "openssh_private_key": _pem("OPENSSH PRIVATE KEY", (380, 2000), "b3BlbnNzaC1rZXktdjEAAAAA"),
    "pgp_private_key": _pgp_key,
    "aws_access_key": _one_of(_shape("AKIA", (UPPER + "234567", 16)), _shape("ASIA", (UPPER + "234567", 16))),
    "aws_secret_key": _shape((BASE64, 39), ("0123456789", 1)),
    "gcp_api_key": _shape("AIza", (URLSAFE, 35)),
    "gcp_service_account": _pem("PRIVATE KEY", (1214, 1220), "MI"),
    "google_oauth_secret": _shape("GOCSPX-", (URLSAFE, 28)),
    "azure_storage_key": lambda rng: b64(rng, 64),
    "azure_client_secret": _shape((ALNUM, 3), "8Q~", (ALNUM + "_~.-", 34)),
    "github_token": _github,
    "gitlab_token": _one_of(
        _shape("glpat-", (URLSAFE, 20)), _shape("gldt-", (URLSAFE, 20)), _shape("glrt-", (URLSAFE, 20))
    ),
    "slack_token": _slack,
    "slack_webhook": _shape(
        "https://hooks.slack.com/services/T", (UPPER + DIGITS, 10), "/B", (UPPER + DIGITS, 10), "/", (ALNUM, 24)
    ),
    "discord_webhook": _shape("https://discord.com/api/webhooks/", (DIGITS, 18), "/", (URLSAFE, 68)),
    "telegram_bot_token": _shape((DIGITS, 10), ":AA", (URLSAFE, 33)),
    "stripe_key": _one_of(
        _shape("sk_live_", (ALNUM, 24)),
        _shape("sk_live_51", (ALNUM, 97)),
        _shape("rk_live_", (ALNUM, 24)),
        _shape("sk_test_51", (ALNUM, 97)),
        _shape("whsec_", (ALNUM, 32)),
    ),
    "twilio_key": _shape("SK", (HEX, 32)),
    "sendgrid_key": _shape("SG.", (URLSAFE, 22), ".", (URLSAFE, 43)),
    "mailgun_key": _shape("key-", (HEX, 32)),
    "openai_key": _openai,
    "anthropic_key": _one_of(
        _shape("sk-ant-api03-", (URLSAFE, 93), "AA"), _shape("sk-ant-admin01-", (URLSAFE, 93), "AA")
    ),
    "huggingface_token": _shape("hf_", (ALNUM, 34)),
    "npm_token": _shape("npm_", (ALNUM, 36)),
    "pypi_token": _shape("pypi-AgEIcHlwaS5vcmc", (URLSAFE, 150)),
    "docker_token": _one_of(_shape("dckr_pat_", (URLSAFE, 27)), _shape("dckr_oat_", (URLSAFE, 32))),
    "databricks_token": _shape("dapi", (HEX, 32)),
    "digitalocean_token": _shape("dop_v1_", (HEX, 64)),
    "shopify_token": _one_of(_shape("shpat_", (HEX, 32)), _shape("shpss_", (HEX, 32))),
    "vault_token": _shape("hvs.", (URLSAFE, 95)),
    "grafana_token": _shape("glsa_", (ALNUM, 32), "_", (HEX, 8)),
    "bitcoin_private_key": lambda rng: base58check(b"\x80" + rng.randbytes(32) + b"\x01"),
    "jwt": _jwt,
    "bearer_token": _one_of(
        _shape((ALNUM, 40)), _shape((HEX, 32)), _shape("ya29.", (URLSAFE, 120)), _shape((URLSAFE, 63), "7")
    ),
    "basic_auth": _basic,
    "url_password": url_password,
    "database_url": url_password,
    "password": password,
    "api_key": _api_key,
    "generic_secret": _one_of(
        _shape((ALNUM, 32), "4x"), _shape((HEX, 40)), _shape((BASE58, 44), "8"), _shape((LOWNUM, 36), "9z")
    ),
}
