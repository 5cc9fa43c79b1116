"""The secret of all marks (domain/marks.py): one file in the data folder, made at its first use, for its owner alone."""

import secrets
from pathlib import Path

from l07.backends.store.files import sync, write_synced
from l07.domain.marks import Marks
from l07.errors import SecretExposed, SecretMissing, disk_errors

BYTES = 32


def open_marks(path: Path, *, make: bool = True) -> Marks:
    """Several processes may open it at once: one of them makes it. Without `make` it must be there.

    Raises: SecretExposed E7120; SecretMissing E7121, not there or not one of ours; StoreFull E7400; FolderNotWritable E7402."""
    with disk_errors(path.parent):
        if make and not path.exists():
            _make(path)
        try:
            raw, mode = path.read_bytes(), path.stat().st_mode
        except FileNotFoundError as err:
            raise SecretMissing(f"the key {path} is gone: restore it from a copy", path=str(path)) from err
    if mode & 0o077:
        raise SecretExposed(f"others may read {path} (mode {mode & 0o777:03o}): chmod 600 {path}", path=str(path))
    if len(raw) != BYTES:
        raise SecretMissing(f"{path} holds {len(raw)} bytes, a key has {BYTES}: restore it from a copy", path=str(path))
    return Marks(raw)


def _make(path: Path) -> None:
    """A link, not a rename: whoever is second takes the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_synced(draft, secrets.token_bytes(BYTES), mode=0o600)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    sync(path.parent)
