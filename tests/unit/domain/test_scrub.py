"""The scrub: each kind is found and replaced, equal stays equal, and what is no secret stays."""

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from l07.domain.plants.secrets import KINDS, left, plant
from l07.domain.scrub import Policy, finds, luhn, scrub
from l07.domain.scrub.engine import Engine, engine
from l07.domain.scrub.personal import personal
from l07.domain.scrub.secrets import secrets
from l07.domain.scrub.texts import texts_of

ALL = Policy(personal="scrub")
MRZ = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"

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
    ("password", "echo 'falcon7698' | sudo -S ls", "falcon7698"),
    ("password", "db.internal:5432:shop:app:Ax9kkd83!", "Ax9kkd83!"),
    ("password", "curl -u me:Ax9kkd83 https://a.b", "Ax9kkd83"),
    ("password", "mysql -u root -pAx9kkd83 shop", "Ax9kkd83"),
    ("password", "CREATE USER a IDENTIFIED BY 'Ax9kkd83'", "Ax9kkd83"),
    ("url_password", "postgres://app:Ax9kkd83@db/shop", "Ax9kkd83"),
    ("card_number", "room 12 5500 0000 0000 0004", "5500 0000 0000 0004"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "secret"), FOUND)
def test_each_kind_is_replaced_and_nothing_else(kind: str, text: str, secret: str) -> None:
    clean = scrub(text)
    assert clean.values == (text.replace(secret, f"<{kind}_1>"),)
    assert (clean.kinds, clean.hits) == ({kind: 1}, 1)


def test_a_secret_keeps_its_name_all_through_a_row() -> None:
    messages = (
        {"content": "set it to k9f8s7d6a5x4"},
        {"function": {"name": "f", "arguments": {"password": "k9f8s7d6a5x4"}}},
    )
    goal, clean = scrub("my password is k9f8s7d6a5x4", messages).values
    assert goal == "my password is <password_1>"
    assert clean == (
        {"content": "set it to <password_1>"},
        {"function": {"name": "f", "arguments": {"password": "<password_1>"}}},
    )


def test_two_secrets_get_two_names() -> None:
    one, other = "sk_live_" + "a1" * 10, "sk_live_" + "b2" * 10
    assert scrub(f"{one} {other} {one}").values == ("<stripe_key_1> <stripe_key_2> <stripe_key_1>",)


def test_hits_are_different_secrets_not_places() -> None:
    assert scrub(*(f"token {AWS} again" for _ in range(9))).hits == 1
    assert scrub(*("sk_live_" + f"{n}" * 20 for n in range(6))).hits == 6


def test_a_scrubbed_row_is_clean() -> None:
    policy = Policy(max_secrets=100)
    clean = scrub(*(text for _, text, _ in FOUND), policy=policy).values
    assert [found for text in clean for found in finds(text)] == []
    assert scrub(*clean, policy=policy).values == clean


@pytest.mark.parametrize(
    "text",
    [
        "user mia_li_3668", "flight HAT136, id 4421486", "order 4111111111111112", "0.0034285714285714284", "0000000000000000",
        "2024-05-15 15:00:00", "password: ********", "api_key=<your key>", "the password is wrong", "bearer of bad news: everybody",
        "sha256 9b3868e7ebac831051edeb60f8065dc9fd2d11cdd88417c9054d28ad4d5668bc", "", "password=os.environ['PW']", "token: ${API_TOKEN}",
        "next_page_token=Cg9zMTIzNDU2Nzg5MGFiY2Rl", "postgres://user:password@localhost/db", "see https://host/a:b@c", "git@github.com:a/b.git",
        "10.0.0.1 127.0.0.1 8.8.8.8 192.168.1.7", "version 1.22.333.4444", "v1.2.3.4", "call 5550100", "number 5550100", "+1 555 0100",
        "+00:30", "IBAN GB29NWBK60161331926818", "1990-01-01", "SELECT first_name FROM people", "name: Hotel Grand Paris",
        "WHERE first_name IS NOT NULL", "total_tokens: 123456789", "primary_key: abcdef0123456789ab", "0x0000000000000000000000000000000000000000",
        "00:00:00:00:00:00", "https://a.b/c?page=2&token=next", "12345678A", "Authorization: Basic abcdefgh", "000-12-3456",
        "https://example.com/@user", "the secret is out", "city 48.8566, 2.3522",
    ],
)  # fmt: skip
def test_what_is_neither_a_secret_nor_personal_stays(text: str) -> None:
    assert scrub(text, policy=ALL).values == (text,)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", "write to anna.b@mail.co.uk.", "anna.b@mail.co.uk"),
        ("email", 'tool said {"m": "x\\nanna@b.de\\n"}', "anna@b.de"),
        ("email", "отправь на анна@пример.рф", "анна@пример.рф"),
        ("phone_number", "+49 170 1234567", "+49 170 1234567"), ("phone_number", "ring (415) 555-2671", "(415) 555-2671"),
        ("phone_number", "phone: 4155552671", "4155552671"), ("phone_number", "appelle 06 12 34 56 78", "06 12 34 56 78"),
        ("iban", "IBAN GB29 NWBK 6016 1331 9268 19 EUR", "GB29 NWBK 6016 1331 9268 19"), ("us_ssn", "078-05-1120", "078-05-1120"),
        ("de_tax_id", "Steuer-ID: 86095742719", "86095742719"), ("de_id_card", "Ausweisnummer T220001293", "T220001293"),
        ("uk_nino", "NI AB 12 34 56 C", "AB 12 34 56 C"), ("uk_nhs_number", "NHS 943 476 5919", "943 476 5919"),
        ("fr_nir", "1 85 05 78 006 084 91", "1 85 05 78 006 084 91"), ("es_dni", "DNI 12345678Z", "12345678Z"),
        ("es_dni", "X1234567L", "X1234567L"), ("it_codice_fiscale", "RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("passport_number", "passport_number: C01X00T47", "C01X00T47"), ("ipv4", "from 91.198.174.192 at noon", "91.198.174.192"),
        ("ipv6", "host 2a02:8109:9c00::1", "2a02:8109:9c00::1"), ("mac_address", "3c:22:fb:9a:01:7e", "3c:22:fb:9a:01:7e"),
        ("bitcoin_address", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("bitcoin_address", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        ("ethereum_address", "0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe", "0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe"),
        ("gps_position", "home_location: 52.5200, 13.4050", "52.5200, 13.4050"), ("date_of_birth", "dob: 1985-03-12", "1985-03-12"),
        ("date_of_birth", "Geburtsdatum 12. März 1985", "12. März 1985"), ("person_name", '"full_name": "Chloé O\'Brien"', "Chloé O'Brien"),
        ("person_name", "My name is Mia Li and I", "Mia Li"), ("person_name", "my last name is Smith. I think", "Smith"),
        ("postal_address", '"home_address": "12 Elm Ave, Austin"', "12 Elm Ave, Austin"),
        ("passport_mrz", MRZ, MRZ),
    ],
)  # fmt: skip
def test_each_kind_of_personal_data_is_replaced_and_nothing_else(kind: str, text: str, value: str) -> None:
    assert scrub(text, policy=ALL).values == (text.replace(value, f"<{kind}_1>"),)
    assert scrub(text, policy=ALL).personal == {kind: 1}


CALL = {
    "role": "assistant",
    "tool_calls": [{"function": {"name": "pay", "arguments": {"to": "DE89 3704 0044 0532 0130 00"}}}],
}
SAID = {"role": "tool", "content": "paid DE89370400440532013000, from GB29NWBK60161331926819, told anna@b.de"}


@pytest.mark.parametrize(
    ("mode", "left", "gone"),
    [
        ("keep_arguments", ("DE89370400440532013000",), ("GB29NWBK60161331926819", "anna@b.de")),
        ("scrub", (), ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "anna@b.de")),
        ("keep", ("DE89370400440532013000", "GB29NWBK60161331926819", "anna@b.de"), ()),
        ("off", ("DE89370400440532013000", "GB29NWBK60161331926819", "anna@b.de"), ()),
    ],
)
def test_personal_data_that_a_call_passes_is_the_task(mode: Any, left: tuple[str, ...], gone: tuple[str, ...]) -> None:
    clean = scrub((CALL, SAID), policy=Policy(personal=mode))
    said = str(clean.values)
    assert all(value in said for value in left)
    assert not any(value in said for value in gone)
    assert sum(clean.kept.values()) == {"keep_arguments": 1, "scrub": 0, "keep": 3, "off": 0}[mode]


def test_personal_data_that_the_goal_says_is_the_task() -> None:
    said = ({"role": "user", "content": "write to anna@b.de"}, {"role": "tool", "content": "anna@b.de, tom@b.de"})
    assert scrub(said, task=("write to Anna@b.de",)).values[0][1]["content"] == "anna@b.de, <email_1>"


def test_a_secret_is_replaced_in_a_call_too() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"password": "k9f8s7d6a5x4"}}}]}
    assert "k9f8s7d6a5x4" not in str(scrub((call,), task=("set it to k9f8s7d6a5x4",)).values)
    assert scrub((call,), policy=Policy(secrets="off")).values == ((call,),)


def test_two_spellings_of_one_value_get_one_name() -> None:
    text = "DE89370400440532013000 and DE89 3704 0044 0532 0130 00, Anna@B.de and anna@b.de"
    assert scrub(text, policy=ALL).values == ("<iban_1> and <iban_1>, <email_1> and <email_1>",)


def test_secrets_and_personal_data_have_limits_of_their_own() -> None:
    mails = " ".join(f"a{number}@b.de" for number in range(4))
    policy = Policy(max_secrets=0, max_personal=3)
    assert scrub(mails, policy=policy).spill(policy) == ("personal_email",)
    assert scrub(AWS, policy=policy).spill(policy) == ("secret_aws_access_key",)
    assert scrub(mails, AWS, policy=policy).values == ()
    assert scrub(mails, policy=Policy(max_personal=4)).spill(Policy(max_personal=4)) == ()


def test_counts_tell_kinds_and_never_values() -> None:
    said = ({"role": "tool", "content": f"{AWS} anna@b.de tom@b.de"}, CALL)
    assert scrub(said).counts() == {"scrubbed": 1, "scrubbed_aws_access_key": 1, "scrubbed_email": 2, "kept_iban": 1}
    assert scrub("nothing").counts() == {}


def test_a_value_under_a_key_is_seen_with_it() -> None:
    row = {
        "user": {"phone": 4155552671, "emails": ["a@b.de"], "env": [{"name": "DB_PASSWORD", "value": "hunter2!"}]},
        "n": 4155552672,
    }
    clean = {
        "user": {
            "phone": "<phone_number_1>",
            "emails": ["<email_1>"],
            "env": [{"name": "DB_PASSWORD", "value": "<password_1>"}],
        },
        "n": 4155552672,
    }
    assert scrub(row, policy=ALL).values == (clean,)


def test_the_head_of_a_table_says_what_its_cells_are() -> None:
    assert scrub('id,birthdate\n4,"March 3, 1948"', policy=ALL).values == ('id,birthdate\n4,"<date_of_birth_1>"',)
    assert scrub("| no | surname |\n|---|---|\n| 1 | Keller |", policy=ALL).personal == {"person_name": 1}


def test_a_command_line_in_parts_is_read_as_one() -> None:
    row = ({"args": ["--db-password", "Ax9kkd83", "--verbose"]},)
    assert scrub(row).values == (({"args": ["--db-password", "<password_1>", "--verbose"]},),)


def test_a_key_of_a_structure_is_scrubbed_too() -> None:
    assert scrub({"anna@b.de": {"tom@b.de": 1}}, policy=ALL).values == ({"<email_1>": {"<email_2>": 1}},)


def test_a_name_is_replaced_as_a_word_only() -> None:
    row = ({"first_name": "Anna"}, "Anna flew to Annapolis")
    assert scrub(row, policy=ALL).values == (({"first_name": "<person_name_1>"}, "<person_name_1> flew to Annapolis"),)


@pytest.mark.slow
def test_the_gate_loses_nothing() -> None:
    """The short patterns of the gate are found wherever the long ones are."""
    open_gate = Engine([replace(rule, gate="") for rule in (*secrets(), *personal())])
    planted = [plant(kind, random.Random(seed), half="tune").content for kind in KINDS for seed in range(3)]
    for content in (*planted, *(text for _, text, _ in FOUND)):
        row = texts_of((content,))
        assert engine(True, True).finds(row) == open_gate.finds(row), content


@pytest.mark.parametrize("kind", KINDS)
def test_planted_values_are_found_in_the_contexts_that_rules_are_made_on(kind: str) -> None:
    plants = [plant(kind, random.Random(f"{kind}{seed}"), half="tune") for seed in range(8)]
    missed = [p for p in plants if left(p, scrub({p.place: p.content}, policy=ALL).values)]
    assert missed == []


@pytest.mark.parametrize(
    "text",
    ["password=" * 5000, "4111 1111 1111 1111 " * 2500, "-----BEGIN PRIVATE KEY-----" * 2000, "http://a:b@" * 5000, "\x00" * 50000,
     "\u202e\u05d0" * 9000, random.Random(0).randbytes(40000).decode("latin-1"), "\ud800 anna@b.de", "password=" + ")" * 50000, "secret is " * 5000],
)  # fmt: skip
def test_garbage_costs_no_more_than_its_length(text: str) -> None:
    began = time.process_time()
    scrub(text, policy=Policy(personal="scrub", max_secrets=10**6, max_personal=10**6))
    assert time.process_time() - began < 2


def test_ten_thousand_short_texts_are_one_pass() -> None:
    began = time.process_time()
    assert scrub([f"a{number}@b.de" for number in range(10_000)]).personal == {"email": 10_000}
    assert time.process_time() - began < 3


@pytest.mark.parametrize("value", [None, 3, 2.5, True, {"a": [1, None]}, [], ("x", {"y": "z"})])
def test_shapes_come_back_as_they_were(value: Any) -> None:
    dirty = {"key": f"a {AWS}", "value": value}
    assert scrub(dirty).values == ({"key": "a <aws_access_key_1>", "value": value},)


@pytest.mark.parametrize(
    ("text", "good"), [("4111111111111111", True), ("4111111111111112", False), ("1" * 16, False), ("18", False)]
)
def test_luhn(text: str, good: bool) -> None:
    assert luhn(text) is good
