"""The JSON Schemas of the wire, made from the classes; the files in `schemas/` ship with the package.

`<type>.json` is what we write, `in.<role>.json` what we require of what we read.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec

from l07.events import deadletter
from l07.events.inschema import ROLES, inbound_data, inbound_event
from l07.events.outbound import TYPES, data_class, schema_uri

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAMES = (*TYPES, *deadletter.TYPES, *(f"in.{role}" for role in ROLES))

_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "format": "date-time"}
_OPTIONAL: Mapping[str, Any] = {
    "causationid": _TEXT,
    "correlationid": _TEXT,
    "ledgerseq": {"type": "integer", "minimum": 1},
    "ledgerhash": _TEXT,
    "traceparent": _TEXT,
}


def schema(name: str) -> dict[str, Any]:
    """The schema of a whole structured event: one of NAMES."""
    if name in TYPES:
        body, parts = _own(name)
    elif name in deadletter.TYPES:
        body, parts = _letter(name)
    else:
        body, parts = inbound_event(name.removeprefix("in."))
    head = {"$schema": DRAFT, "$id": schema_uri(name), "title": name, "type": "object"}
    return {**head, **body, "$defs": parts}


def data_schema(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of `data` alone, as a record in binary mode carries it, and the parts that it refers to."""
    return inbound_data(name.removeprefix("in."))


def _own(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    data, parts = _of(data_class(TYPES[name]))
    properties = {
        "specversion": {"const": "1.0"},
        "type": {"type": "string", "pattern": f"(^|\\.){name.replace('.', '[.]')}$"},
        "source": {"const": TYPES[name].SOURCE},
        "id": {"type": "string", "format": "uuid"},
        "subject": _TEXT,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": schema_uri(name)},
        "partitionkey": _TEXT,
        "data": data,
    }
    return {"properties": {**properties, **_OPTIONAL}, "required": list(properties)}, parts


def _letter(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    source, struct = deadletter.TYPES[name]
    data, parts = _of(struct)
    properties = {
        "specversion": {"const": "1.0"},
        "type": {"const": name},
        "source": {"const": source},
        "id": _TEXT,
        "subject": _TEXT,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "data": data,
    }
    return {"properties": properties, "required": list(properties)}, parts


def _of(struct: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, Any]]:
    (data,), parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    return data, parts


def text(name: str) -> str:
    """The schema as its file has it."""
    return json.dumps(schema(name), indent=1, sort_keys=True) + "\n"


def shipped(name: str) -> str:
    """The file that ships with the package."""
    return resources.files("l07.events").joinpath("schemas", f"{name}.json").read_text("utf-8")


def write() -> None:
    """Write every file anew, into the source tree: `python -m l07.events.schema`."""
    folder = resources.files("l07.events").joinpath("schemas")
    with resources.as_file(folder) as path:
        for name in NAMES:
            (path / f"{name}.json").write_text(text(name), "utf-8")


if __name__ == "__main__":
    write()
