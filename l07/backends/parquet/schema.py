"""The columns of every file of a version, and how `datasets` is told what they mean."""

import json
from typing import Any

import pyarrow as pa

TEXT, NUMBER, TEXTS, DIGEST = pa.string(), pa.float64(), pa.list_(pa.string()), pa.binary(32)

CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("tool_calls", pa.list_(CALL)),
        ("tool_call_id", pa.string()),
        ("name", pa.string()),
    ]
)


def texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, TEXT) for name in names]


BODY = pa.schema(
    [
        *texts("key", "task_id", "agent_id", "model_version", "outcome", "goal"),
        ("messages", pa.list_(MESSAGE)),
        ("tools", TEXT),
    ]
)
_SCORES = [("difficulty", NUMBER), ("quality_score", NUMBER), ("confidence", NUMBER)]
FACTS = pa.schema(
    [
        *texts("group", "split", "domain", "task_type", "source"),
        *_SCORES,
        ("decision", TEXT),
        ("reasons", TEXTS),
    ]
)
# What never changes of a run, and where it stands now: two files, so that a row that moves rewrites the small one.
RUN = pa.schema(
    [
        *texts("key", "task", "source", "domain", "task_type", "batch_id", "model_version"),
        ("difficulty", NUMBER),
        ("content", DIGEST),
        ("exact", DIGEST),
        ("deeds", DIGEST),
        ("draw", pa.uint64()),
        ("features", pa.list_(NUMBER)),
    ]
)
STANDING = pa.schema(
    [
        ("quality_score", NUMBER),
        ("confidence", NUMBER),
        ("decision", TEXT),
        ("reasons", TEXTS),
        *texts("table", "group", "split", "subject"),
        ("scores", pa.map_(TEXT, NUMBER)),
        ("cluster", pa.uint64()),
        ("sketched", pa.bool_()),
        ("placed", pa.int32()),  # number of the write that put the row into its table
        ("digest", DIGEST),
    ]
)
GROUPS = pa.schema(texts("task", "group", "split"))
EVENTS = ("trace_event", "trace_source", "trace_at", "score_event", "score_source", "score_at", "trace_sha256")
LINEAGE = pa.schema(texts("key", "batch_id", *EVENTS))


def _hf(type_: pa.DataType, name: str) -> Any:
    """A column's feature in the words of `datasets`."""
    if name in ("arguments", "tools"):
        return {"_type": "Json"}
    if pa.types.is_list(type_):
        return {"_type": "List", "feature": _hf(type_.value_type, "")}
    if pa.types.is_struct(type_):
        return {field.name: _hf(field.type, field.name) for field in type_}
    return {"_type": "Value", "dtype": "float64" if pa.types.is_float64(type_) else str(type_)}


def _stored(type_: pa.DataType, name: str) -> pa.DataType:
    """As in memory, but JSON text is marked as JSON: without the mark `datasets` gives the text back."""
    if name in ("arguments", "tools"):
        return pa.json_()
    if pa.types.is_list(type_):
        return pa.list_(_stored(type_.value_type, ""))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _stored(field.type, field.name)) for field in type_])
    return type_


ROW = pa.schema([BODY.field("key"), *FACTS, *(field for field in BODY if field.name != "key")])
STORED = pa.schema(
    [(field.name, _stored(field.type, field.name)) for field in ROW],
    metadata={
        "huggingface": json.dumps({"info": {"features": {field.name: _hf(field.type, field.name) for field in ROW}}})
    },
)
