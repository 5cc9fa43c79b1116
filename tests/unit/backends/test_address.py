"""What `buffer.url` may say."""

from pathlib import Path

import pytest

from l07.backends.address import Access, Address, Node, address_of
from l07.backends.open import buffer_address
from l07.errors import BadSetting
from l07.settings import load_settings

ONE = (Node("host", 6379),)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", Address(ONE)),
        ("redis://host:7000/3", Address((Node("host", 7000),), db=3)),
        ("rediss://host", Address(ONE, tls=True)),
        ("redis://[::1]:7000", Address((Node("::1", 7000),))),
        ("redis://[::1]", Address((Node("::1", 6379),))),
        ("unix:///tmp/s", Address(path="/tmp/s")),
        ("unix:///tmp/s?db=2", Address(path="/tmp/s", db=2)),
        ("redis+cluster://a:1,b:2", Address((Node("a", 1), Node("b", 2)), cluster=True)),
        ("rediss+cluster://a/0", Address((Node("a", 6379),), tls=True, cluster=True)),
        ("redis://u:p%40%2F@host", Address(ONE, access=Access("u", "p@/"))),
        ("redis://:p@host", Address(ONE, access=Access("", "p"))),
    ],
)
def test_the_forms_of_an_address(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "redis:", "redis://", "http://host", "redis://host:0", "redis://host:70000", "redis://host:x", "redis://host/x",
        "redis://host?retry_on_timeout=yes", "redis://host/0?db=1", "unix://host/s", "unix:///", "unix:///s?retry=1",
        "redis://a:1,b:2", "redis+cluster://a:1/2", "redis+cluster://a:1,", "redis+cluster://,", "unix+cluster:///s",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match=r"buffer\.url"):
        address_of(url)


def test_the_settings_come_before_the_url() -> None:
    own = Access("me", "mine")
    assert address_of("redis://u:p@host", own).access == own
    assert address_of("redis://u:p@host", Access("me")).access == Access("me", "p")


def test_a_certificate_needs_tls_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("a certificate")
    there = Access(ca_file=str(tmp_path / "ca"))
    assert address_of("rediss://host", there).access == there
    with pytest.raises(BadSetting, match="without TLS"):
        address_of("redis://host", there)
    with pytest.raises(BadSetting, match=r"buffer\.key_file .*no such file"):
        address_of("rediss://host", Access(key_file=str(tmp_path / "none")))


def test_the_address_of_the_settings() -> None:
    assert buffer_address(load_settings({}).settings) is None
    set_ = {"L07_BUFFER__URL": "rediss://host", "L07_BUFFER__USERNAME": "u", "L07_BUFFER__PASSWORD": "p"}
    found = buffer_address(load_settings(set_).settings)
    assert found == Address(ONE, tls=True, access=Access("u", "p"))
    assert "'p'" not in repr(found)
