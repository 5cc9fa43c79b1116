"""The scrub: each kind is found and replaced, equal stays equal, and what is no secret stays."""

from typing import Any

import pytest

from l07.domain.scrub import luhn, scrub, secrets_in

AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"
FOUND = [
    ("aws_access_key", f"use {AWS} now", AWS),
    ("aws_secret_key", 'aws_secret_access_key = "' + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" + '"', "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("github_token", "token ghp_" + "a1" * 18, "ghp_" + "a1" * 18),
    ("github_token", "github_pat_" + "B2" * 20, "github_pat_" + "B2" * 20),
    ("private_key", f"key:\n{PEM}\nend", PEM),
    ("private_key", "-----BEGIN PRIVATE " + "KEY-----\ncut off", "-----BEGIN PRIVATE " + "KEY-----\ncut off"),
    ("jwt", f"cookie={JWT};", JWT),
    ("bearer_token", "Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789abcdef"),
    ("api_key", "API_KEY=k9f8s7d6a5x4", "k9f8s7d6a5x4"),
    ("api_key", "my-service_api_key: 'k9f8s7d6a5x4'", "k9f8s7d6a5x4"),
    ("slack_token", "xoxb-" + "123456789012-abcdefABCDEF", "xoxb-" + "123456789012-abcdefABCDEF"),
    ("stripe_key", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    ("card_number", "pay with 4111 1111 1111 1111 please", "4111 1111 1111 1111"),
    ("card_number", "card 5500-0000-0000-0004.", "5500-0000-0000-0004"),
    ("card_number", "378282246310005", "378282246310005"),
    ("card_number", "4111-1111-1111-1111 12 29", "4111-1111-1111-1111"),
    ("card_number", "room 12 5500 0000 0000 0004", "5500 0000 0000 0004"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "secret"), FOUND)
def test_each_kind_is_replaced_and_nothing_else(kind: str, text: str, secret: str) -> None:
    clean = scrub(text)
    assert clean.values == (text.replace(secret, f"<{kind}_1>"),)
    assert (clean.kinds, clean.hits) == ({kind: 1}, 1)


@pytest.mark.parametrize(
    "text",
    [
        "IBAN GB29NWBK60161331926819", "user mia_li_3668", "anna@example.com", "+1 555 0100",
        "order 4111111111111112", "0.0034285714285714284", "0000000000000000", "2024-05-15 15:00:00",
        "password: ********", "api_key=<your key>", "the password is wrong", "bearer of bad news: everybody",
        "sha256 9b3868e7ebac831051edeb60f8065dc9fd2d11cdd88417c9054d28ad4d5668bc", "",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub(text).values == (text,)


def test_a_secret_keeps_its_name_all_through_a_row() -> None:
    messages = (
        {"content": "set it to k9f8s7d6a5x4"},
        {"function": {"name": "f", "arguments": {"password": "k9f8s7d6a5x4"}}},
    )
    goal, clean = scrub("my password is k9f8s7d6a5x4", messages).values
    assert goal == "my password is <api_key_1>"
    assert clean == (
        {"content": "set it to <api_key_1>"},
        {"function": {"name": "f", "arguments": {"password": "<api_key_1>"}}},
    )


def test_two_secrets_get_two_names() -> None:
    one, other = "sk_live_" + "a1" * 10, "sk_live_" + "b2" * 10
    assert scrub(f"{one} {other} {one}").values == ("<stripe_key_1> <stripe_key_2> <stripe_key_1>",)


def test_hits_are_different_secrets_not_places() -> None:
    assert scrub(*(f"token {AWS} again" for _ in range(9))).hits == 1
    assert scrub(*("sk_live_" + f"{n}" * 20 for n in range(6))).hits == 6


def test_a_scrubbed_row_is_clean() -> None:
    clean = scrub(*(text for _, text, _ in FOUND)).values
    assert [found for text in clean for found in secrets_in(text)] == []
    assert scrub(*clean).values == clean


@pytest.mark.parametrize("value", [None, 3, 2.5, True, {"a": [1, None]}, [], ("x", {"y": "z"})])
def test_shapes_come_back_as_they_were(value: Any) -> None:
    dirty = {"key": f"a {AWS}", "value": value}
    assert scrub(dirty).values == ({"key": "a <aws_access_key_1>", "value": value},)


@pytest.mark.parametrize(
    ("text", "good"), [("4111111111111111", True), ("4111111111111112", False), ("1" * 16, False), ("18", False)]
)
def test_luhn(text: str, good: bool) -> None:
    assert luhn(text) is good
