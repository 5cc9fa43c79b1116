"""A version's description as Croissant 1.0, JSON-LD that data catalogues read: files with their sha256, tables with
their columns. Written by hand; the library for it brings 27 packages."""

from collections.abc import Iterator, Mapping
from typing import Any

from l07.domain.dataset import SPLITS

FILE = "croissant.json"
TEXT, NUMBER, WHOLE = "sc:Text", "sc:Float", "sc:Integer"
COLUMNS = (
    ("key", TEXT, "natural key of the run"),
    ("group", TEXT, "rows of one group share a split"),
    ("split", TEXT, "train, validation or test"),
    ("domain", TEXT, "what the run was about"),
    ("task_type", TEXT, "kind of task"),
    ("source", TEXT, "who published the trace"),
    ("difficulty", NUMBER, "0-1, from the structure of the run"),
    ("quality_score", NUMBER, "0-100, of the evaluator"),
    ("confidence", NUMBER, "0-1, of the evaluator"),
    ("decision", TEXT, "ACCEPT, REVIEW or REJECT"),
    ("reasons", TEXT, "why, and what was noted"),
    ("task_id", TEXT, "runs of one task share a group"),
    ("agent_id", TEXT, "who did the run"),
    ("model_version", TEXT, "the released model that did the run"),
    ("outcome", TEXT, "what the run said of itself"),
    ("goal", TEXT, "what was asked"),
    (
        "messages",
        TEXT,
        "the conversation in the shape of OpenAI chat; a turn's tool_calls are nested deeper than fields can be",
    ),
    ("tools", TEXT, "the tools that were offered, as JSON"),
)
MESSAGE = ("role", "content", "tool_call_id", "name")
ORDER = (
    ("key", TEXT, "natural key of a train row"),
    ("stage", TEXT, "easy, medium or hard"),
    ("difficulty", NUMBER, "0-1, how often runs of its task are expected to fail"),
    ("rank", WHOLE, "its place in the order"),
    ("rank_shuffled", WHOLE, "its place in the control arm"),
)
REPEATED = frozenset({"reasons", "messages"})
_WORDS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{word: f"cr:{word}" for word in _WORDS},
}


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a manifest with its `files`. No date stands in it: the same version gives the same bytes."""
    tables = [*SPLITS, *(table for table in ("contrast", "review") if manifest[table])]
    sources = {table: _Source(manifest, table, f"data/{table}-") for table in tables}
    order = _Source(manifest, "curriculum", "curriculum")
    said = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest["dataset"],
        "version": manifest["version"],
        "description": f"Agent runs that are good enough to learn from. Digest {manifest['digest']}.",
        "isLiveDataset": False,
        "distribution": [
            *(_file(name, digest) for name, digest in sorted(manifest["files"].items()) if _listed(name)),
            *(source.file_set() for source in sources.values() if source.several),
        ],
        "recordSet": [
            *(_records(table, COLUMNS, source.said()) for table, source in sources.items()),
            *([_records("curriculum", ORDER, order.said())] if order.shards else []),
        ],
    }
    licence = manifest["config"].get("license")
    return said | ({"license": licence} if licence else {})


def _listed(name: str) -> bool:
    return name.endswith(".parquet")


class _Source:
    """Where a table's rows are: a file, or a set of files."""

    def __init__(self, manifest: Mapping[str, Any], table: str, prefix: str) -> None:
        self._table, self._prefix = table, prefix
        self.shards = [name for name in sorted(manifest["files"]) if name.startswith(prefix) and _listed(name)]
        self.several = len(self.shards) > 1

    def said(self) -> dict[str, Any]:
        return {"fileSet": {"@id": self._id()}} if self.several else {"fileObject": {"@id": self.shards[0]}}

    def file_set(self) -> dict[str, Any]:
        return {
            "@type": "cr:FileSet",
            "@id": self._id(),
            "name": self._id(),
            "encodingFormat": "application/x-parquet",
            "includes": f"{self._prefix}*.parquet",
        }

    def _id(self) -> str:
        return f"{self._table}-files"


def _file(name: str, digest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{digest['bytes']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest["sha256"],
    }


def _records(table: str, columns: tuple[tuple[str, str, str], ...], source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "key": {"@id": f"{table}/key"},
        "field": list(_fields(table, columns, source)),
    }


def _fields(
    table: str, columns: tuple[tuple[str, str, str], ...], source: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for name, kind, text in columns:
        column = {**source, "extract": {"column": name}}
        field: dict[str, Any] = {
            "@type": "cr:Field", "@id": f"{table}/{name}", "name": name, "description": text, "dataType": kind,
            "source": column,
        }  # fmt: skip
        if name in REPEATED:
            field["repeated"] = True
        if name == "messages":
            del field["dataType"]
            field["subField"] = [_part(table, part, column) for part in MESSAGE]
        yield field


def _part(table: str, part: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table}/messages/{part}",
        "name": part,
        "dataType": TEXT,
        "source": {**source, "transform": {"jsonPath": part}},
    }
