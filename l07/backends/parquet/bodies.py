"""Examples as Arrow rows and back: arguments of calls and tool lists are JSON text."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from l07.backends.parquet.schema import BODY, CALL, MESSAGE
from l07.domain.example import TrainingExample

try:
    from l07.backends.parquet import columns as compiled
except ImportError:  # no C compiler where this was installed: column by column, in Python
    compiled = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from l07.backends.parquet.columns import Text

_encode = msgspec.json.encode


ROWS = 1024  # of a table; bodies are put together before, a run at a time
TEXTS = tuple(name for name in BODY.names if name != "messages")
_texts_of = attrgetter(*(name for name in TEXTS if name != "tools"))


class Bodies:
    """A hold (pipeline/curate/work.py) that keeps bodies as Arrow tables, a tenth of what they are as objects."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._begun = _Begun()

    def add(self, examples: Sequence[TrainingExample]) -> None:
        for example in examples:
            self._begun.add(example)
        if len(self._begun) >= ROWS:
            self._end()

    @property
    def tables(self) -> list[pa.Table]:
        """All that was added; a run is found by its key."""
        self._end()
        return self._tables

    def _end(self) -> None:
        begun, self._begun = self._begun, _Begun()
        self._tables += begun.tables()


def table_of(examples: Sequence[TrainingExample]) -> pa.Table:
    """In any order."""
    begun = _Begun()
    for example in examples:
        begun.add(example)
    return pa.concat_tables([BODY.empty_table(), *begun.tables()])


class _Begun:
    """A table before its end."""

    def __init__(self) -> None:
        self._count = 0
        self._rows = None if compiled is None else compiled.Rows(len(TEXTS), _encode)
        self._others: list[TrainingExample] = []

    def __len__(self) -> int:
        return self._count + len(self._others)

    def add(self, example: TrainingExample) -> None:
        texts = (*_texts_of(example), _encode(example.tools))
        if self._rows is not None and self._rows.add(texts, example.messages):
            self._count += 1
        else:
            self._others.append(example)

    def tables(self) -> list[pa.Table]:
        """Nothing can be added any more."""
        found = [_table_of(self._rows)] if self._rows is not None and self._count else []
        return [*found, slowly(self._others)] if self._others else found


def _table_of(rows: "compiled.Rows") -> pa.Table:
    texts, ends, said, calls, absent, made = rows.done()
    columns = dict(zip(TEXTS, map(_text, texts), strict=True))
    columns["messages"] = _messages(ends, said, calls, absent, made)
    return pa.table([columns[name] for name in BODY.names], schema=BODY)


def slowly(examples: Sequence[TrainingExample]) -> pa.Table:
    """Column by column: a third of the time of from_pylist. columns.pyx does the same for runs that were decoded."""
    columns = {
        name: pa.array([getattr(example, name) for example in examples], pa.string())
        for name in TEXTS
        if name != "tools"
    }
    columns["messages"] = _one_by_one([example.messages for example in examples])
    columns["tools"] = pa.array([_json(example.tools) for example in examples], pa.string())
    return pa.table([columns[name] for name in BODY.names], schema=BODY)


def _messages(rows: bytearray, said: "list[Text]", calls: bytearray, absent: bytearray, made: "list[Text]") -> pa.Array:
    role, content, answered, name = map(_text, said)
    ident, kind, called, arguments = map(_text, made)
    function = pa.StructArray.from_arrays([called, arguments], fields=list(CALL.field("function").type))
    of_calls = pa.StructArray.from_arrays([ident, kind, function], fields=list(CALL))
    mask = pa.array(np.frombuffer(absent, np.bool_))
    columns = [role, content, pa.ListArray.from_arrays(_numbers(calls), of_calls, mask=mask), answered, name]
    return pa.ListArray.from_arrays(_numbers(rows), pa.StructArray.from_arrays(columns, fields=list(MESSAGE)))


def _text(column: "Text") -> pa.Array:
    count, absent, buffers = column
    parts = [None if part is None else pa.py_buffer(part) for part in buffers]
    return pa.Array.from_buffers(pa.string(), count, parts, absent)


def _numbers(raw: bytearray) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), len(raw) // 4, [None, pa.py_buffer(raw)], 0)


def _one_by_one(of_rows: Sequence[Sequence[Mapping[str, Any]]]) -> pa.Array:
    said = [message for messages in of_rows for message in messages]
    columns = [
        pa.array([message.get("role") for message in said], pa.string()),
        pa.array([_content(message.get("content")) for message in said], pa.string()),
        _calls([message.get("tool_calls") or None for message in said]),
        pa.array([message.get("tool_call_id") for message in said], pa.string()),
        pa.array([message.get("name") for message in said], pa.string()),
    ]
    return pa.ListArray.from_arrays(_offsets(of_rows), pa.StructArray.from_arrays(columns, fields=list(MESSAGE)))


def _calls(of_messages: Sequence[Sequence[Mapping[str, Any]] | None]) -> pa.Array:
    made = [call for calls in of_messages for call in calls or ()]
    functions = [call["function"] for call in made]
    function = pa.StructArray.from_arrays(
        [
            pa.array([one["name"] for one in functions], pa.string()),
            pa.array([_json(one["arguments"]) for one in functions], pa.string()),
        ],
        fields=list(CALL.field("function").type),
    )
    columns = [
        pa.array([call.get("id") for call in made], pa.string()),
        pa.array([call.get("type", "function") for call in made], pa.string()),
        function,
    ]
    offsets = _offsets([calls or () for calls in of_messages])
    absent = pa.array([calls is None for calls in of_messages], pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=list(CALL)), mask=absent)


def _offsets(lists: Sequence[Sequence[object]]) -> pa.Array:
    return pa.array([0, *accumulate(map(len, lists))], pa.int32())


def _content(content: Any) -> str | None:
    return content if content is None or isinstance(content, str) else _json(content)


def _json(value: Any) -> str:
    return _encode(value).decode()
