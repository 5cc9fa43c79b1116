"""A sealed folder is either as it was, or says what is wrong with it."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from l07.domain.seal import MANIFEST, SIGNATURE, SigningKey, VerifyKey, open_key, seal, verify
from l07.errors import (
    FileChanged,
    FileExtra,
    FileMissing,
    KeyExposed,
    KeyUnreadable,
    L07Error,
    SealMissing,
    SealOfAnother,
    SealUnreadable,
    SignatureForged,
    SignedByAnother,
    Unsealable,
)

SUBJECT = "models/default:1.0.0"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def a_model(folder: Path) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    return folder


@pytest.fixture
def sealed(tmp_path: Path, key: SigningKey) -> Path:
    folder = a_model(tmp_path / "model")
    seal(folder, subject=SUBJECT, key=key)
    return folder


# ------------------------------------------------------------------ sealing


def test_an_untouched_folder_verifies_and_gives_its_manifest_back(tmp_path: Path, key: SigningKey) -> None:
    folder = a_model(tmp_path / "model")
    manifest = seal(folder, subject=SUBJECT, key=key, labels=["simulated"])
    assert sorted(manifest.files) == ["adapter.safetensors", "tokenizer/vocab.json"]
    assert manifest.files["adapter.safetensors"].size == 7
    assert verify(folder, subject=SUBJECT, key=key.public) == manifest
    assert manifest.labels == ("simulated",)


def test_the_digest_is_of_the_files_and_not_of_place_subject_or_key(tmp_path: Path, key: SigningKey) -> None:
    other = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    one = seal(a_model(tmp_path / "one"), subject=SUBJECT, key=key)
    two = seal(a_model(tmp_path / "two"), subject="models/other:7.0.0", key=other)
    assert one.digest == two.digest
    renamed = a_model(tmp_path / "three")
    (renamed / "adapter.safetensors").rename(renamed / "weights.safetensors")
    assert seal(renamed, subject=SUBJECT, key=key).digest != one.digest


def a_link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def a_linked_folder(folder: Path) -> None:
    (folder / "link").symlink_to("tokenizer")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def a_strange_name(folder: Path) -> None:
    (folder / "a\nb").write_text("")


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def a_manifest_of_its_own(folder: Path) -> None:
    (folder / MANIFEST).write_text("{}")


@pytest.mark.parametrize("spoil", [a_link, a_linked_folder, a_pipe, a_strange_name, nothing, a_manifest_of_its_own])
def test_what_is_no_plain_folder_of_files_is_not_sealed(
    tmp_path: Path, key: SigningKey, spoil: Callable[[Path], None]
) -> None:
    folder = a_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises(Unsealable, match="E7229"):
        seal(folder, subject=SUBJECT, key=key)


# ------------------------------------------------------------------ verifying


def change(folder: Path) -> None:
    (folder / "tokenizer" / "vocab.json").write_text("[]")


def remove(folder: Path) -> None:
    (folder / "tokenizer" / "vocab.json").unlink()


def add(folder: Path) -> None:
    (folder / "tokenizer" / "run_me.py").write_text("")


@pytest.mark.parametrize(
    ("harm", "error", "name"),
    [
        (change, FileChanged, "tokenizer/vocab.json"),
        (remove, FileMissing, "tokenizer/vocab.json"),
        (add, FileExtra, "tokenizer/run_me.py"),
    ],
)
def test_the_file_that_changed_is_missing_or_is_extra_is_named(
    sealed: Path, key: SigningKey, harm: Callable[[Path], None], error: type[L07Error], name: str
) -> None:
    harm(sealed)
    with pytest.raises(error, match=name) as seen:
        verify(sealed, subject=SUBJECT, key=key.public)
    assert seen.value.context["file"] == name


def test_a_link_that_came_later_is_refused(sealed: Path, key: SigningKey) -> None:
    a_link(sealed)
    with pytest.raises(Unsealable, match="link"):
        verify(sealed, subject=SUBJECT, key=key.public)


def test_each_flipped_byte_is_refused(sealed: Path, key: SigningKey) -> None:
    for path in (sealed / "adapter.safetensors", sealed / MANIFEST, sealed / SIGNATURE):
        good = path.read_bytes()
        for index in range(0, len(good) - 1, 7):  # the last byte of the signature's file is its line end
            path.write_bytes(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :])
            with pytest.raises((FileChanged, SignatureForged, SealUnreadable, SignedByAnother)):
                verify(sealed, subject=SUBJECT, key=key.public)
        path.write_bytes(good)
    verify(sealed, subject=SUBJECT, key=key.public)


def test_a_manifest_that_was_made_to_fit_the_changed_file_is_a_forgery(
    sealed: Path, key: SigningKey, tmp_path: Path
) -> None:
    thief = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    folder = a_model(tmp_path / "forged")
    change(folder)
    seal(folder, subject=SUBJECT, key=thief)
    with pytest.raises(SignedByAnother, match="E7222"):
        verify(folder, subject=SUBJECT, key=key.public)
    words = json.loads((folder / SIGNATURE).read_text())  # ... and with our key's name on it
    (folder / SIGNATURE).write_text(json.dumps({**words, "key": key.public.id}))
    with pytest.raises(SignatureForged, match="E7223"):
        verify(folder, subject=SUBJECT, key=key.public)
    shutil.copy(sealed / SIGNATURE, folder / SIGNATURE)  # ... and with a signature that we made for other files
    with pytest.raises(SignatureForged):
        verify(folder, subject=SUBJECT, key=key.public)


def test_a_good_seal_of_another_version_does_not_stand_in(sealed: Path, key: SigningKey) -> None:
    with pytest.raises(SealOfAnother, match=r"E7224.*models/default:1\.0\.0"):
        verify(sealed, subject="models/default:2.0.0", key=key.public)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE])
def test_without_manifest_or_signature_there_is_no_seal(sealed: Path, key: SigningKey, name: str) -> None:
    (sealed / name).unlink()
    with pytest.raises(SealMissing, match=f"E7220.*{name}"):
        verify(sealed, subject=SUBJECT, key=key.public)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"algorithm": "none", "key": "k", "signature": ""}']
)
def test_a_signature_file_that_is_something_else_is_said(sealed: Path, key: SigningKey, raw: bytes) -> None:
    (sealed / SIGNATURE).write_bytes(raw)
    with pytest.raises(SealUnreadable, match="E7221"):
        verify(sealed, subject=SUBJECT, key=key.public)


# ------------------------------------------------------------------ key


def test_the_key_is_made_at_first_use_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "registry.pem"
    first = open_key(path)
    assert open_key(path).public.id == first.public.id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["registry.pem"]
    assert isinstance(first.public, VerifyKey)


def test_the_key_is_never_open_to_others_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = os.fdopen

    def seen(fd: int, mode: str) -> object:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return real(fd, mode)

    monkeypatch.setattr(os, "fdopen", seen)
    before = os.umask(0)
    try:
        open_key(tmp_path / "registry.pem")
    finally:
        os.umask(before)
    assert modes
    assert set(modes) == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "registry.pem"
    open_key(path)
    path.chmod(mode)
    with pytest.raises(KeyExposed, match=f"E7227.*{mode:04o}"):
        open_key(path)


def pem_of(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, *, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no key",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(ed25519.Ed25519PrivateKey.generate()),
        pem_of(ec.generate_private_key(ec.SECP256R1()), password=b"secret"),
    ],
    ids=["empty", "text", "another curve", "another kind", "with a password"],
)
def test_a_file_that_is_no_key_of_ours_is_said(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "registry.pem"
    path.write_bytes(raw)
    path.chmod(0o600)
    with pytest.raises(KeyUnreadable, match="E7228"):
        open_key(path)


def test_a_key_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("not a folder")
    with pytest.raises(KeyUnreadable, match="E7228"):
        open_key(tmp_path / "keys" / "registry.pem")


@pytest.mark.slow
def test_processes_that_make_the_key_at_once_share_one(tmp_path: Path) -> None:
    script = """
from pathlib import Path
from l07.domain.seal import open_key
print(open_key(Path("registry.pem")).public.id)
"""
    command = [sys.executable, "-c", script]
    children = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({child.communicate()[0] for child in children}) == 1
