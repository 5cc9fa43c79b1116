"""Every bad input, whatever its kind, from the files beside this one. README.md has the format."""

import gzip
import json
from pathlib import Path
from typing import Any

from l07 import errors
from tests.unit.events.corpus import value_of

HERE = Path(__file__).parent
KINDS = {"record": "wire", "events": "events", "cli": "cli", "job": "job"}  # kind -> folder
FATES = frozenset({"dead_letter", "rejected", "duplicate", "stop", "cli_error"})
CODES = {
    found.code for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.L07Error)
} - {""}

Case = dict[str, Any]


def cases(kind: str) -> list[Case]:
    """In order of files and lines; each knows its file."""
    return [
        {"file": path.stem, **json.loads(line)}
        for path in sorted((HERE / KINDS[kind]).glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]


def ident(case: Case) -> str:
    return f"{case['file']}: {case['name']}"


def content_of(what: Any) -> bytes:
    """A file or a line: a text as it is, {"event": ...} as JSON, {"lines": [...]}, {"gzip": ...}, or what a record has."""
    if isinstance(what, str):
        return what.encode()
    if "event" in what:
        return json.dumps(what["event"]).encode()
    if "lines" in what:
        return b"".join(content_of(line) + b"\n" for line in what["lines"])
    if "gzip" in what:
        return gzip.compress(content_of(what["gzip"]), mtime=0)[: what.get("bytes")]
    return value_of(what) or b""
