"""The JSON Schema of each event that we emit, made from its class; the files in `schemas/` ship with the package."""

import json
from importlib import resources
from typing import Any

import msgspec

from l07.events.outbound import TYPES, data_class, schema_uri

_TEXT = {"type": "string", "minLength": 1}


def schema(type_name: str) -> dict[str, Any]:
    """The schema of a whole structured event of this type."""
    (data,), parts = msgspec.json.schema_components([data_class(TYPES[type_name])], ref_template="#/$defs/{name}")
    properties: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "type": {"type": "string", "pattern": f"(^|\\.){type_name.replace('.', '[.]')}$"},
        "source": {"const": TYPES[type_name].SOURCE},
        "id": {"type": "string", "format": "uuid"},
        "subject": _TEXT,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": schema_uri(type_name)},
        "causationid": _TEXT,
        "correlationid": _TEXT,
        "partitionkey": _TEXT,
        "ledgerseq": {"type": "integer", "minimum": 1},
        "ledgerhash": _TEXT,
        "traceparent": _TEXT,
        "data": data,
    }
    optional = {"causationid", "correlationid", "ledgerseq", "ledgerhash", "traceparent"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_uri(type_name),
        "title": type_name,
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "$defs": parts,
    }


def text(type_name: str) -> str:
    """The schema as its file has it."""
    return json.dumps(schema(type_name), indent=1, sort_keys=True) + "\n"


def shipped(type_name: str) -> str:
    """The file that ships with the package."""
    return resources.files("l07.events").joinpath("schemas", f"{type_name}.json").read_text("utf-8")


def write() -> None:
    """Write every file anew, into the source tree: `python -m l07.events.schema`."""
    folder = resources.files("l07.events").joinpath("schemas")
    with resources.as_file(folder) as path:
        for type_name in TYPES:
            (path / f"{type_name}.json").write_text(text(type_name), "utf-8")


if __name__ == "__main__":
    write()
