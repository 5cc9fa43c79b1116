"""Datasets as files: Parquet tables, a card that `datasets.load_dataset(dir)` reads, a manifest with every file's
digest.

Arguments of calls and tool lists are JSON text, marked as JSON in the schema: `datasets` gives objects back, every
other reader the text. File bytes may change with the writer's release, so the version's identity is
the digest over its rows, and the files' digests only tell whether somebody has changed them.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from l07.backends.croissant import FILE as CROISSANT
from l07.backends.croissant import croissant
from l07.backends.parquet_beside import write_beside
from l07.domain.dataset import SCHEMA, TABLES, Group, Member, statistics, version_digest
from l07.domain.deeds import DEEDS
from l07.domain.example import TrainingExample
from l07.domain.quality import CurateRules
from l07.domain.scheme import SCHEME
from l07.errors import DatasetChanged, DatasetUnreadable
from l07.pipeline.curate.build import Draft, Lineage, Parent
from l07.pipeline.curate.twins import Body

MANIFEST = "manifest.json"
READ = (2, SCHEMA)  # what schema 2 lacks has its default

_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
        ("name", pa.string()),
    ]
)
_TEXT, _NUMBER, _TEXTS = pa.string(), pa.float64(), pa.list_(pa.string())


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, _TEXT) for name in names]


_BODY = pa.schema(
    [
        *_texts("key", "task_id", "agent_id", "model_version", "outcome", "goal"),
        ("messages", pa.list_(_MESSAGE)),
        ("tools", _TEXT),
    ]
)
_SCORES = [("difficulty", _NUMBER), ("quality_score", _NUMBER), ("confidence", _NUMBER)]
_FACTS = pa.schema(
    [
        *_texts("group", "split", "domain", "task_type", "source"),
        *_SCORES,
        ("decision", _TEXT),
        ("reasons", _TEXTS),
    ]
)
_MEMBERS = pa.schema(
    [
        *_texts("key", "task", "source", "domain", "task_type"),
        *_SCORES,
        ("decision", _TEXT),
        ("reasons", _TEXTS),
        *_texts("batch_id", "content", "exact", "deeds"),
        ("sketch", pa.binary()),
        ("features", pa.list_(_NUMBER)),
        *_texts("table", "group", "split"),
        ("scores", pa.map_(_TEXT, _NUMBER)),
        *_texts("model_version", "subject"),
    ]
)
_EVENTS = ("trace_event", "trace_source", "trace_at", "score_event", "score_source", "score_at", "trace_sha256")
_LINEAGE = pa.schema(_texts("key", "batch_id", *_EVENTS))


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


_ROW = pa.schema([_BODY.field("key"), *_FACTS, *(field for field in _BODY if field.name != "key")])
_STORED = pa.schema(
    [(field.name, _stored(field.type, field.name)) for field in _ROW],
    metadata={
        "huggingface": json.dumps({"info": {"features": {field.name: _hf(field.type, field.name) for field in _ROW}}})
    },
)


def data_file(table: str) -> str:
    """Where a table lies in a version's folder."""
    return f"data/{table}-00000-of-00001.parquet"


# ------------------------------------------------------------------ writing


def write_version(
    draft: Draft,
    output: Path,
    *,
    parent: Path | None,
    track: str,
    rules: CurateRules,
    batches: Sequence[str],
    golden: str | None,
) -> dict[str, Any]:
    """Fill `output` with the version; returns its manifest. `parent` is the folder of the version before, whose texts
    are taken over."""
    (output / "data").mkdir(parents=True, exist_ok=True)
    bodies = _all_bodies(draft, parent)
    at = {key: number for number, key in enumerate(bodies.column("key").to_pylist())}
    for table in TABLES:
        rows = [member for member in draft.members.values() if member.table == table]
        _write(_table(rows, bodies, at).cast(_STORED), output / data_file(table))
    members = _members(draft.members.values())
    _write(members, output / "members.parquet")
    lineage = _lineage(draft.lineage, parent)
    if draft.counts.get("erased"):
        lineage = lineage.filter(pa.compute.is_in(lineage.column("key"), pa.array(list(draft.members), pa.string())))
    _write(lineage, output / "provenance.parquet")
    _write_json([asdict(group) for group in draft.groups], output / "groups.json")
    manifest = _manifest(draft, parent=parent, track=track, rules=rules, batches=batches, golden=golden)
    manifest |= write_beside(output, members, manifest, rules=rules, parent=read_manifest(parent) if parent else None)
    manifest["files"] = {name: _file(output / name) for name in _names(output)}
    _write_json(croissant(manifest), output / CROISSANT)
    manifest["files"][CROISSANT] = _file(output / CROISSANT)
    _write_json(manifest, output / MANIFEST)
    return manifest


def _table(rows: Sequence[Member], bodies: pa.Table, at: Mapping[str, int]) -> pa.Table:
    taken = bodies.take(pa.array([at[row.key] for row in rows], pa.int64()))
    facts = pa.Table.from_pylist([{name: getattr(row, name) for name in _FACTS.names} for row in rows], schema=_FACTS)
    columns = [(taken if name in _BODY.names else facts).column(name) for name in _ROW.names]
    return pa.table(columns, schema=_ROW)


def _all_bodies(draft: Draft, parent: Path | None) -> pa.Table:
    new = pa.Table.from_pylist([_body(example) for example in draft.examples.values()], schema=_BODY)
    return pa.concat_tables(
        [new, *(_read(parent / data_file(t), _BODY.names).select(_BODY.names).cast(_BODY) for t in TABLES)]
        if parent
        else [new]
    ).combine_chunks()


def _body(example: TrainingExample) -> dict[str, Any]:
    row = {name: getattr(example, name) for name in _BODY.names}
    return row | {"messages": [_message(message) for message in example.messages], "tools": _json(example.tools)}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    content = message.get("content")
    return {
        "role": message.get("role"),
        "content": content if content is None or isinstance(content, str) else _json(content),
        "tool_calls": calls or None,
        "tool_call_id": message.get("tool_call_id"),
        "name": message.get("name"),
    }


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "id": call.get("id"),
        "type": call.get("type", "function"),
        "function": {"name": function["name"], "arguments": _json(function["arguments"])},
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _members(members: Iterable[Member]) -> pa.Table:
    rows = ({name: getattr(member, name) for name in _MEMBERS.names} for member in members)
    return pa.Table.from_pylist([row | {"scores": list(row["scores"].items())} for row in rows], schema=_MEMBERS)


def _lineage(lines: Sequence[Lineage], parent: Path | None) -> pa.Table:
    new = [asdict(line.events) | {"key": line.key, "batch_id": line.batch_id} for line in lines]
    table = pa.Table.from_pylist(new, schema=_LINEAGE)
    if parent is not None:
        table = pa.concat_tables([_read(parent / "provenance.parquet").cast(_LINEAGE), table])
    return table.sort_by([("key", "ascending"), ("batch_id", "ascending")])


def _manifest(
    draft: Draft, *, parent: Path | None, track: str, rules: CurateRules, batches: Sequence[str], golden: str | None
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dataset": track,
        "version": str(draft.number),
        "digest": version_digest(draft.members.values()),
        "parent": parent.name if parent else None,
        "batches": list(batches),
        "added": len(draft.difference.added),
        "removed": len(draft.difference.removed),
        "altered": len(draft.difference.altered),
        **statistics(draft.members.values()),
        "counts": dict(draft.counts),
        "meaning": dict(draft.meaning),
        "config": asdict(rules) | {"scanners": list(rules.scanners)},
        "seed": rules.seed,
        "sketch": SCHEME,
        "deeds": DEEDS,
        "golden": golden,
        "warnings": [asdict(warning) for warning in draft.warnings],
        **({"withheld": draft.withheld.message} if draft.withheld else {}),
    }


def _write(table: pa.Table, path: Path) -> None:
    with pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=3) as file:
        if table.num_rows:  # an empty row group breaks readers that take its size for a batch
            file.write_table(table)


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    )


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


# ------------------------------------------------------------------ reading


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, unchecked against the files. Raises DatasetUnreadable (E7103)."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err
    if not isinstance(manifest, dict) or manifest.get("schema") not in READ:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise DatasetUnreadable(
            f"{path} is of schema {found!r}; this release reads {READ[0]} to {READ[-1]}. Send the runs again into a new --data-dir",
            path=str(path),
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, once every file in the folder is what it says. Raises DatasetChanged (E7102) with the file's
    name, DatasetUnreadable."""
    manifest = read_manifest(folder)
    files: Mapping[str, Mapping[str, Any]] = manifest["files"]
    there = _names(folder)
    for name in sorted(files.keys() ^ set(there)):
        raise DatasetChanged(
            f"{folder / name} {'is missing' if name in files else 'was not there when the version was made'}", file=name
        )
    for name, said in files.items():
        if _file(folder / name) != dict(said):
            raise DatasetChanged(f"{folder / name} is not what the manifest says", file=name)
    return manifest


def read_parent(folder: Path) -> Parent:
    """A published version as the next one's beginning, checked. Raises DatasetChanged, DatasetUnreadable."""
    manifest = verify(folder)
    members = (Member(**_tupled(row)) for row in _read(folder / "members.parquet").to_pylist())
    groups = [Group(**_tupled(row)) for row in json.loads((folder / "groups.json").read_text("utf-8"))]
    if manifest["sketch"] != SCHEME:
        raise DatasetUnreadable(f"{folder}: its sketches are made by {manifest['sketch']}, this release makes {SCHEME}")
    return Parent(
        version=manifest["version"],
        members={member.key: member for member in members},
        groups=groups,
        meaning=manifest["meaning"],
        bodies=partial(_bodies_of, folder),
    )


def _tupled(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return said | {"scores": dict(row["scores"])} if "scores" in row else said


def _bodies_of(folder: Path, keys: Collection[str]) -> dict[str, Body]:
    wanted = pa.array(sorted(keys), pa.string())
    found: dict[str, Body] = {}
    for table in TABLES:
        rows = _read(folder / data_file(table), ["key", "goal", "messages"])
        for row in rows.filter(pa.compute.is_in(rows.column("key"), wanted)).to_pylist():
            found[row["key"]] = Body(row["goal"], [as_said(message) for message in row["messages"]])
    return found


def read_rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of one table as they were taken in: arguments and tools as objects, absent fields of a message left
    out. Unverified."""
    rows: list[dict[str, Any]] = _read(folder / data_file(table)).to_pylist()
    for row in rows:
        row["messages"] = [as_said(message) for message in row["messages"]]
        row["tools"] = json.loads(row["tools"])
    return rows


def read_members(folder: Path) -> list[dict[str, Any]]:
    """Everyone whom the version knows: where the row is, why, and of which group. Without the sketches."""
    table = _read(folder / "members.parquet")
    rows: list[dict[str, Any]] = table.drop_columns(["sketch", "features"]).to_pylist()
    return [row | {"scores": dict(row.get("scores") or ())} for row in rows]


def read_names(folder: Path) -> Iterable[tuple[str, str, str]]:
    """Natural key, mark of the subject and source of everyone whom the version knows."""
    table = _read(folder / "members.parquet", ("key", "subject", "source"))
    empty = [""] * table.num_rows  # a release that knew of no subjects
    names = ("key", "subject", "source")
    columns = [table.column(name).to_pylist() if name in table.column_names else empty for name in names]
    return zip(*columns, strict=True)


def bytes_of(path: Path) -> bytes:
    """Everything that stands in a table, for a search."""
    return repr(_read(path).to_pylist()).encode("utf-8", "surrogateescape")


def read_lineage(folder: Path) -> list[dict[str, Any]]:
    """Events and offsets behind every row, one line a row and batch."""
    rows: list[dict[str, Any]] = _read(folder / "provenance.parquet").to_pylist()
    return rows


def as_said(message: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message as it was taken in: absent fields left out, arguments as objects."""
    said = {name: value for name, value in message.items() if value is not None or name == "content"}
    if said.get("tool_calls"):
        said["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in said["tool_calls"]
        ]
    return said


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as err:
        raise DatasetUnreadable(f"{path} cannot be read: {err}", path=str(path)) from err
