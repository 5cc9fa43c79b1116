"""Files that hold a secret: whole or not there, mode 0600 from their first moment, refused when others can use them.

Departure from "domain is pure", as in seal.py: a key is a file.
"""

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from l07.errors import KeyExposed, KeyUnreadable

HASH_KEY = "hashes.key"  # below keys/ in the data folder
_BYTES = 32


def make(path: Path, raw: bytes) -> None:
    """Of two processes that make one at once, the first wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes it 0600 from its first moment, and a link shows it whole or not at all
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(fd)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()


def read(path: Path) -> bytes:
    """Raises KeyExposed (E7227) when others than the owner may use it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)  # of what is read, not of what the name may point to later
        if mode & 0o077:
            message = f"the key {path} has mode {mode:04o}, others can use it: make a new one, or `chmod 600` it"
            raise KeyExposed(message, path=str(path))
        return file.read()


def open_hash_key(path: Path) -> bytes:
    """The secret under which names of persons, runs and sources are hashed; made at first use. Whoever loses it loses
    the way from a person to his rows.

    Raises:
        KeyExposed: E7227, others than its owner may use the file.
        KeyUnreadable: E7228, it is no key of ours, or cannot be made or read."""
    try:
        if not path.exists():
            make(path, secrets.token_hex(_BYTES).encode() + b"\n")
        raw = read(path)
    except OSError as err:
        raise KeyUnreadable(f"the key {path} cannot be made or read: {err.strerror}", path=str(path)) from err
    try:
        key = bytes.fromhex(raw.decode("ascii"))
    except ValueError as err:
        raise KeyUnreadable(f"{path} holds no key: {_BYTES} bytes as hex are expected", path=str(path)) from err
    if len(key) != _BYTES:
        raise KeyUnreadable(f"{path} holds {len(key)} bytes, not {_BYTES}", path=str(path))
    return key


def keyed(key: bytes, purpose: str, name: str) -> str:
    """A name as it may be kept: 32 hex digits that say nothing to who lacks the key. Purposes ("subject", "key",
    "source") keep equal names apart."""
    text = name.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16, key=key, person=purpose.encode()[:16]).hexdigest()
