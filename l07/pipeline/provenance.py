"""Where a base model comes from, as its own files say: licence and chat template."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.pipeline.documents import read_document

UNKNOWN = "unknown"
_HEAD = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_LINE = re.compile(r"^(license|license_name|license_link):[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Provenance:
    """`license`: as the hub abbreviates it, "other (NAME)", or "unknown"; `license_from`: the file that says so, "" for none.
    `chat_template`: SHA-256 of its text; None: there is none."""

    license: str
    license_from: str
    chat_template: str | None

    def document(self) -> dict[str, Any]:
        """As a lineage has it."""
        return {
            "base_license": self.license,
            "base_license_from": self.license_from,
            "chat_template": self.chat_template,
        }


def provenance(folder: Path) -> Provenance:
    """What the files of a base say of it. A file that cannot be read says nothing."""
    name, said_by = _license(folder)
    return Provenance(name, said_by, _template(folder))


def _license(folder: Path) -> tuple[str, str]:
    """The first that says one: the card's head, base.json, config.json; else a licence's text, by its first words."""
    head = _HEAD.match(_text(folder / "README.md"))
    said = dict(_LINE.findall(head[1])) if head else {}
    said = {name: value.strip("\"'") for name, value in said.items()}
    if said.get("license"):
        more = said.get("license_name") or said.get("license_link")
        name = said["license"]
        return f"{name} ({more})" if name == "other" and more else name, "README.md"
    for file, key in (("base.json", "licence"), ("config.json", "license")):
        if isinstance(name := read_document(folder / file).get(key), str) and name:
            return name.lower(), file
    for path in sorted([*folder.glob("LICENSE*"), *folder.glob("LICENCE*")]):
        words = next((line.strip() for line in _text(path).splitlines() if line.strip()), "")
        if words:
            return f"other ({words[:80]})", path.name
    return UNKNOWN, ""


def _template(folder: Path) -> str | None:
    """That of the file of its own goes before that of the tokenizer's settings, as transformers reads them."""
    text = _text(folder / "chat_template.jinja")
    if not text:
        kept = read_document(folder / "tokenizer_config.json").get("chat_template")
        if not kept:
            return None
        text = kept if isinstance(kept, str) else json.dumps(kept, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
