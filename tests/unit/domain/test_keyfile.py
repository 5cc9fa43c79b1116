"""The key under which names are hashed: made once, read by its owner alone."""

import stat
from pathlib import Path

import pytest

from l07.domain.keyfile import keyed, make, open_hash_key
from l07.errors import KeyExposed, KeyUnreadable


def test_a_key_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "hashes.key"
    key = open_hash_key(path)
    assert open_hash_key(path) == key
    assert open_hash_key(tmp_path / "other.key") != key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make(path, b"another")
    assert open_hash_key(path) == key


def test_a_key_that_others_can_use_is_refused(tmp_path: Path) -> None:
    open_hash_key(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(KeyExposed, match=r"E7227.*0644"):
        open_hash_key(tmp_path / "k")


@pytest.mark.parametrize("raw", [b"", b"no hex", b"abcd", b"\xff" * 32])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, raw: bytes) -> None:
    make(tmp_path / "k", raw)
    with pytest.raises(KeyUnreadable, match="E7228"):
        open_hash_key(tmp_path / "k")


def test_a_key_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyUnreadable, match="cannot be made or read"):
        open_hash_key(tmp_path / "file" / "k")


def test_a_hash_follows_from_key_purpose_and_name() -> None:
    one = keyed(b"k" * 32, "subject", "person 17")
    assert one == keyed(b"k" * 32, "subject", "person 17")
    assert len({one, keyed(b"j" * 32, "subject", "person 17"), keyed(b"k" * 32, "key", "person 17")}) == 3
    assert keyed(b"k" * 32, "subject", "\ud800")
