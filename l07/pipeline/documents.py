"""Small JSON files that may be missing or broken."""

import json
from pathlib import Path
from typing import Any


def read_document(path: Path) -> dict[str, Any]:
    """The object in the file; an empty one where there is no file, no JSON or no object."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
