"""Files that cannot change unseen: a manifest of digests, and an EC P-256 signature over it.

The seal lies beside the files: `manifest.json` (what is signed, byte for byte) and `manifest.sig`. The manifest names
its subject (`models/<name>:<version>`), so a sealed folder cannot stand in for another one.

Departure from "domain is pure": a seal is about files, so this file reads and writes them, and nothing else.
"""

import base64
import hashlib
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from l07.errors import (
    FileChanged,
    FileExtra,
    FileMissing,
    KeyExposed,
    KeyUnreadable,
    SealMissing,
    SealOfAnother,
    SealUnreadable,
    SignatureForged,
    SignedByAnother,
    Unsealable,
    disk_errors,
)

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
ALGORITHM = "ecdsa-p256-sha256"
LAYOUT = 1


@dataclass(frozen=True, slots=True)
class FileDigest:
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is signed. `digest` identifies the files by name and content; it does not depend on the subject."""

    subject: str
    files: Mapping[str, FileDigest]
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 over the lines `<sha256> <size> <name>`, sorted by name."""
        lines = (f"{file.sha256} {file.size} {name}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public half. `id` is the sha256 of its DER form."""

    public: ec.EllipticCurvePublicKey

    @property
    def id(self) -> str:
        der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True, slots=True)
class SigningKey:
    private: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> VerifyKey:
        return VerifyKey(self.private.public_key())


# ------------------------------------------------------------------ key


def open_key(path: Path) -> SigningKey:
    """Load the key, or make it at first use with mode 0600. Of two processes that make one at once, the first wins.

    Raises:
        KeyExposed: E7227, others than its owner may use the file.
        KeyUnreadable: E7228, it holds no EC P-256 key in PEM, or cannot be made or read."""
    try:
        if not path.exists():
            _make_key(path)
        return _load_key(path)
    except OSError as err:
        raise KeyUnreadable(f"the key {path} cannot be made or read: {err.strerror}", path=str(path)) from err


def _make_key(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes it 0600 from its first moment, and a link shows it whole or not at all
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(fd)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()


def _load_key(path: Path) -> SigningKey:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)  # of what is read, not of what the name may point to later
        if mode & 0o077:
            message = f"the key {path} has mode {mode:04o}, others can use it: make a new one, or `chmod 600` it"
            raise KeyExposed(message, path=str(path))
        raw = file.read()
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as err:
        raise KeyUnreadable(f"{path} holds no readable key", path=str(path)) from err
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyUnreadable(f"{path} holds another kind of key than EC P-256", path=str(path))
    return SigningKey(key)


# ------------------------------------------------------------------ seal


def seal(folder: Path, *, subject: str, key: SigningKey, labels: Sequence[str] = ()) -> Manifest:
    """Write manifest and signature into `folder`, over all its files.

    Raises:
        Unsealable: E7229, something in it is no plain file, or there is nothing. StoreFull E7400."""
    with disk_errors(folder):
        manifest = Manifest(subject, _digests(folder), tuple(sorted(labels)))
    if not manifest.files or (folder / MANIFEST).exists():
        raise Unsealable(f"{folder} holds no file, or a {MANIFEST} already", folder=str(folder))
    raw = _encode(manifest)
    signature = key.private.sign(raw, ec.ECDSA(hashes.SHA256()))
    words = {"algorithm": ALGORITHM, "key": key.public.id, "signature": base64.b64encode(signature).decode()}
    with disk_errors(folder):
        (folder / MANIFEST).write_bytes(raw)
        (folder / SIGNATURE).write_bytes(_json(words))
    return manifest


def verify(folder: Path, *, subject: str, key: VerifyKey) -> Manifest:
    """The manifest, if every file in `folder` is as it was sealed under `subject` with `key`.

    Raises:
        SealMissing: E7220, no manifest or no signature. SealUnreadable: E7221, one of them is not what we write.
        SignedByAnother: E7222. SignatureForged: E7223. SealOfAnother: E7224, the seal of another subject.
        FileChanged: E7225, FileMissing: E7226, FileExtra: E7230, each with the file's name.
        Unsealable: E7229, a link or a device."""
    raw, signature = _read(folder / MANIFEST), _read_signature(folder / SIGNATURE, key)
    try:
        key.public.verify(signature, raw, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as err:
        raise SignatureForged(f"the signature of {folder} does not fit its manifest", folder=str(folder)) from err
    manifest = _decode(raw, folder / MANIFEST)  # only what is signed is parsed
    if manifest.subject != subject:
        raise SealOfAnother(f"{folder} is sealed as {manifest.subject}, not as {subject}", folder=str(folder))
    with disk_errors(folder):
        found = _digests(folder)
    _compare(manifest.files, found, folder)
    return manifest


def _compare(sealed: Mapping[str, FileDigest], found: Mapping[str, FileDigest], folder: Path) -> None:
    for name in sorted(sealed.keys() | found.keys()):
        context = {"folder": str(folder), "file": name}
        if name not in found:
            raise FileMissing(f"{name} of {folder} is gone", **context)
        if name not in sealed:
            raise FileExtra(f"{name} in {folder} was not there when it was sealed", **context)
        if not hmac.compare_digest(sealed[name].sha256, found[name].sha256) or sealed[name].size != found[name].size:
            raise FileChanged(f"{name} of {folder} is not what was sealed", **context)


def _digests(folder: Path) -> dict[str, FileDigest]:
    files: dict[str, FileDigest] = {}
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(here, name)
            relative = path.relative_to(folder).as_posix()
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) or not relative.isprintable():
                raise Unsealable(f"{relative!r} in {folder} is no plain file", folder=str(folder), file=relative)
            if stat.S_ISREG(kind) and relative not in (MANIFEST, SIGNATURE):
                files[relative] = _digest(path)
    return files


def _digest(path: Path) -> FileDigest:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(digest, file.tell())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as err:
        raise SealMissing(f"{path.parent} has no {path.name}", folder=str(path.parent), file=path.name) from err


def _read_signature(path: Path, key: VerifyKey) -> bytes:
    try:
        words = json.loads(_read(path))
        algorithm, signer = str(words["algorithm"]), str(words["key"])
        signature = base64.b64decode(words["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise SealUnreadable(f"{path} is no signature", file=path.name) from err
    if algorithm != ALGORITHM:
        raise SealUnreadable(f"{path} has algorithm {algorithm!r}, not {ALGORITHM}", file=path.name)
    if signer != key.id:
        raise SignedByAnother(f"{path} was made with the key {signer[:12]}, ours is {key.id[:12]}", file=path.name)
    return signature


def _encode(manifest: Manifest) -> bytes:
    files = {name: {"sha256": file.sha256, "size": file.size} for name, file in manifest.files.items()}
    words = {"layout": LAYOUT, "subject": manifest.subject, "digest": manifest.digest, "labels": manifest.labels}
    return _json({**words, "files": files})


def _decode(raw: bytes, path: Path) -> Manifest:
    try:
        words: dict[str, Any] = json.loads(raw)
        files = {str(name): FileDigest(str(file["sha256"]), int(file["size"])) for name, file in words["files"].items()}
        manifest = Manifest(str(words["subject"]), files, tuple(words["labels"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise SealUnreadable(f"{path} is no manifest", file=path.name) from err
    if words.get("layout") != LAYOUT or words.get("digest") != manifest.digest:
        raise SealUnreadable(f"{path} has another layout, or a digest that does not fit", file=path.name)
    return manifest


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
