"""The scanner in C (`scan.pyx`), where this installation has it, and the shapes that it reads by.

They are read off the structs, so that a field is written down once. What has no simple shape is never sure."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import inspect

from l07.events import inbound
from l07.events.cloudevents import MAX_AHEAD_MS, OPTIONAL
from l07.events.dialects import RunData, chat
from l07.events.modes import PLAIN
from l07.events.record import Record
from l07.ports import Half, Ignored

try:
    from l07.pipeline import scan
except ImportError:  # no C compiler where this was installed: `ingest.py` does it all
    scan = None  # type: ignore[assignment]

Found = tuple[
    Any, Sequence[int]
]  # a sequence of halves and what is ignored; None, until something is put there, where it is not sure
Scan = Callable[[Sequence[Record], int], Found]
ENVELOPE = ("id", "source", "type", "subject", "partitionkey", "time", "datacontenttype", "specversion", "data")
NEEDED = frozenset({"id", "source", "type", "specversion", "data"})
FREE = -1
COMPILED = scan is not None
_value = itemgetter(5)
_SLOTS = {name: slot for slot, name in enumerate(scan.SLOT_NAMES if COMPILED else ()) if name not in ENVELOPE}


def value_bytes(records: Sequence[Record]) -> int:
    """Of all values together."""
    if not COMPILED:
        return sum(map(len, filter(None, map(_value, records))))
    return scan.value_bytes(records)


def scanner(limits: inbound.Limits, names: inbound.TypeNames, route: Callable[[str, str], str | None]) -> Scan:
    """What says of records which halves they are, where that is beyond doubt. `route`: which track takes (domain, source).

    Where nothing was compiled it is never sure."""
    if not COMPILED:
        return lambda records, part: ([None] * len(records), range(len(records)))
    root, shapes = _shapes()
    return scan.Scanner(
        root,
        names.known,
        shapes,
        half=Half,
        ignored=Ignored,
        route=route,
        plain=PLAIN,
        max_bytes=limits.max_bytes,
        max_ahead_ms=MAX_AHEAD_MS,
        max_age_ms=limits.max_age_s * 1000,
    ).scan


@cache
def _shapes() -> tuple[int, dict[str, int]]:
    """Once: there is room for a few only."""
    made = _Shapes(chat.ChatMessage)
    structs: Mapping[str, type[msgspec.Struct]] = {"trace": RunData, "score": inbound.ScoreData}
    return made.envelope(), {role: made.struct(struct, "", unique=True) for role, struct in structs.items()}


class _Shapes:
    """`message`: one of a conversation, role and content first."""

    def __init__(self, message: type[msgspec.Struct]) -> None:
        self._message = message

    def envelope(self) -> int:
        text = scan.add(["string", "null"], FREE, None, False, False)
        names = (*ENVELOPE, *(name for name in OPTIONAL if name not in ENVELOPE))
        members = [(name, FREE if name == "data" else text, FREE, name in NEEDED) for name in names]
        return scan.add(["object"], FREE, members, True, False)

    def struct(
        self,
        cls: type[msgspec.Struct],
        path: str,
        *,
        unique: bool = False,
        kinds: Sequence[str] = ("object",),
        item: int = FREE,
    ) -> int:
        """`path`: where it stands under `data`, "" for `data` itself, "-" where no slot is. `kinds`: what else may stand there."""
        told = cls is self._message
        fields = msgspec.structs.fields(cls)
        assert not told or [field.name for field in fields[:2]] == ["role", "content"]
        info = inspect.type_info(cls)
        assert isinstance(info, inspect.StructType)
        members = []
        for field in info.fields:
            place = "-" if path == "-" else f"{path}{field.encode_name}"
            slot = _SLOTS.get(place, FREE)
            members.append((field.encode_name, self._shape(field.type, place, slot), slot, field.required))
        return scan.add(kinds, item, members, unique, told)

    def _shape(self, hint: inspect.Type, place: str, slot: int) -> int:
        if isinstance(hint, inspect.AnyType):
            return FREE
        types = hint.types if isinstance(hint, inspect.UnionType) else (hint,)
        kinds = [_kind(one, slot) for one in types]
        if "" in kinds:
            return scan.add([], FREE, None, False, False)  # never sure
        item = next((self._shape(one.item_type, "-", FREE) for one in types if isinstance(one, inspect.ListType)), FREE)
        inner = next((one.cls for one in types if isinstance(one, inspect.StructType)), None)
        if inner is None:
            return scan.add(kinds, item, None, False, False)
        return self.struct(inner, "-" if place == "-" else f"{place}.", kinds=kinds, item=item)


def _kind(one: inspect.Type, slot: int) -> str:
    """JSON's name of the type; "" for one that has rules of its own. A number's bounds are looked at in its slot."""
    if isinstance(one, inspect.FloatType):
        bounded = (one.ge, one.gt, one.le, one.lt) != (None,) * 4
        return "" if bounded and slot == FREE else "number"
    if isinstance(one, inspect.StrType):
        return "string" if (one.min_length, one.max_length, one.pattern) == (None,) * 3 else ""
    if isinstance(one, inspect.DictType):
        return "object" if isinstance(one.value_type, inspect.AnyType) else ""
    return _SIMPLE.get(type(one), "")


_SIMPLE: Mapping[type, str] = {
    inspect.NoneType: "null",
    inspect.BoolType: "bool",
    inspect.ListType: "array",
    inspect.StructType: "object",
}
