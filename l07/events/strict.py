"""What JSON must be before anybody reads it: strict UTF-8, at most 64 levels, finite numbers, no key twice.

msgspec alone lets bad UTF-8, duplicate keys and infinite numbers through where it skips, and raises foreign errors.
"""

import json
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from l07.errors import BadEvent, DuplicateKey, MalformedJson, NotUtf8, NumberNotFinite, TooDeep

MAX_DEPTH = 64

_OPENERS = b"{["
_ROUND = bytes.maketrans(b"[]{}", b"()()")
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NO_NUMBER = re.compile(rb"(?<![A-Za-z])-?(?:NaN|Infinity)(?![A-Za-z])")

_untyped = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def check_json(value: bytes) -> None:
    """One JSON document, whatever its shape.

    Raises:
        NotUtf8 (E7003), TooDeep (E7004), MalformedJson (E7005), NumberNotFinite (E7007)."""
    check_utf8(value)
    if too_deep(value):
        raise TooDeep(f"JSON of more than {MAX_DEPTH} levels")
    try:
        _untyped(value)
    except msgspec.ValidationError as err:  # untyped, the range of numbers is all that can fail
        raise NumberNotFinite(str(err)) from err
    except msgspec.DecodeError as err:
        raise _malformed(value, err) from err


def check_utf8(value: bytes) -> None:
    """Raises NotUtf8, E7003."""
    try:
        value.decode()
    except UnicodeDecodeError as err:
        raise NotUtf8(f"not UTF-8 at byte {err.start}: {err.reason}") from err


def too_deep(value: bytes) -> bool:
    """Whether JSON nests deeper than 64 levels. Of what is no JSON it says what keeps the decoder's stack small."""
    if len(value) - len(value.translate(None, _OPENERS)) <= MAX_DEPTH:
        return False
    # Without escaped quotes the quotes alternate; a pair with nothing between them is a string without brackets.
    bare = value.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ROUND, _NO_STRUCTURE).replace(b'""', b"")
    left = b"".join(bare.split(b'"')[::2])
    for _ in range(MAX_DEPTH):
        inner = left.replace(b"()", b"")
        if len(inner) == len(left):
            return left.count(b"(") > MAX_DEPTH  # brackets that never close: malformed, and perhaps deep
        left = inner
    return b"(" in left


def check_keys(value: bytes) -> None:
    """No key twice in the document or in the first level of its `data`; escapes count as what they mean.

    The document has passed `check_json`. Raises DuplicateKey, E7006."""
    if _surely_unique(compact(value)):
        return
    document = json.loads(value, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    if isinstance(document, _Pairs):
        _check_unique("the event", document)
        for name, member in document:
            if name == "data" and isinstance(member, _Pairs):
                _check_unique("data", member)


def compact(value: bytes) -> bytes:
    """The same JSON without whitespace between its tokens; keys, order and duplicates stay."""
    return bytes(msgspec.json.format(value, indent=-1))


def _surely_unique(tight: bytes) -> bool:
    """Written again, the members of an object are as long as it was: then no key was there twice, and none was escaped."""
    try:
        members = _members(tight)
        data = bytes(members.get("data", b""))
        return len(_encode(members)) == len(tight) and (data[:1] != b"{" or len(_encode(_members(data))) == len(data))
    except msgspec.ValidationError:  # no object
        return False


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""


def _check_unique(where: str, pairs: Iterable[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise DuplicateKey(f"{name[:64]!r} stands twice in {where}")
        seen.add(name)


def _malformed(value: bytes, err: msgspec.DecodeError) -> BadEvent:
    plain = value.replace(b"\\\\", b"")
    if _SURROGATE.search(_PAIR.sub(b"", plain)):
        return NotUtf8("a string escapes a lone surrogate")
    outside = b" ".join(plain.replace(b'\\"', b"").split(b'"')[::2])
    if _NO_NUMBER.search(outside):
        return NumberNotFinite("NaN or Infinity stands where a number belongs")
    return MalformedJson(str(err))


_SCALAR = str | int | float | bool | None
_L1 = _SCALAR | list[_SCALAR] | dict[str, _SCALAR]
_L2 = _SCALAR | list[_L1] | dict[str, _L1]
_L3 = _SCALAR | list[_L2] | dict[str, _L2]
_FREE = _SCALAR | list[_L3] | dict[str, _L3]


def known_only(cls: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same struct, but nothing in it is skipped unread: an unknown field is an error at every level, and so is a
    free value (`Any`) of more than four levels."""
    hints = get_type_hints(cls, include_extras=True)
    fields = [
        (field.name, twin, _same(field))
        for field in msgspec.structs.fields(cls)
        if (twin := _twin(hints[field.name])) != hints[field.name]
    ]
    return msgspec.defstruct(cls.__name__, fields, bases=(cls,), forbid_unknown_fields=True, kw_only=True, gc=False)


def _same(field: Any) -> Any:
    """Default and name on the wire as they were."""
    has = {} if field.default is msgspec.NODEFAULT else {"default": field.default}
    return msgspec.field(**has, name=field.encode_name)


def _twin(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return known_only(hint)
    if hint is Any:
        return _FREE
    origin = get_origin(hint)
    if origin is None or origin is Annotated:
        return hint
    args = tuple(map(_twin, get_args(hint)))
    return Union[args] if origin in (types.UnionType, Union) else origin[args]  # noqa: UP007 - built at run time
