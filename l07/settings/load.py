"""Defaults, then a TOML file, then L07_ variables. An unknown name refuses to start."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from l07.errors import BadSetting, UnknownSetting
from l07.settings.tree import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value that is not a default came from ("file:PATH" or "env:NAME"), by dotted name."""

    settings: Settings
    origins: Mapping[str, str]


PREFIX = "L07_"
_SECRET = re.compile(r"(^|[._])(password|secret)($|\.)")  # the value is shown in no error
OWN_VARIABLES = {"L07_CONFIG", "L07_VENV", "L07_TEST_KAFKA", "L07_TEST_REDIS", "L07_TEST_SERVERS"}  # not settings


def load_settings(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Loaded:
    """Defaults < TOML file (`file`, L07_CONFIG, or an `l07.toml` here) < L07_ variables < `overrides` (dotted names).

    A nested name is written with two underscores: L07_TRACKS__DEFAULT__SEAL__COUNT.

    Raises:
        UnknownSetting: E7500, a name that is not in the tree, with the nearest that is.
        BadSetting: E7501, a value that does not fit, or a file that is no TOML."""
    environ = os.environ if environ is None else environ
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = file or (Path(environ["L07_CONFIG"]) if environ.get("L07_CONFIG") else None) or _default_file()
    if path is not None:
        for name, value in _leaves(_read_toml(path)):
            _put(tree, name, value)
            origins[name] = f"file:{path}"
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in OWN_VARIABLES:
            name = variable[len(PREFIX) :].lower().replace("__", ".")
            _put(tree, name, _value_of(text))
            origins[name] = f"env:{variable}"
    for name, value in (overrides or {}).items():
        _put(tree, name, value)
        origins[name] = "argument"
    return Loaded(_validate(tree, origins), origins)


def leaves(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted name, value, description), in the order of the tree."""
    yield from _walk(settings, "")


def _walk(group: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, info in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and all(isinstance(item, BaseModel) for item in value.values()):
            for key, item in value.items():
                yield from _walk(item, f"{prefix}{name}.{key}.")
        else:
            yield f"{prefix}{name}", value, info.description or ""


def _default_file() -> Path | None:
    here = Path("l07.toml")
    return here if here.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise BadSetting(f"the settings file {path} is not there; name another with --config or L07_CONFIG") from err
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise BadSetting(f"the settings file {path} cannot be read: {err}") from err


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if value and isinstance(value, Mapping) and f"{prefix}{name}" != "models.aliases":
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, leaf = name.split(".") if not name.startswith("models.aliases.") else ["models", "aliases", name[15:]]
    for group in groups:
        below = tree.setdefault(group, {})
        if not isinstance(below, dict):
            raise BadSetting(f"{name}: {group} is a value, not a group of settings")
        tree = below
    tree[leaf] = value


def _value_of(text: str) -> Any:
    """A variable's text as TOML where it is a list, table or quoted text; otherwise pydantic reads the text."""
    if text[:1] in ("[", "{", '"'):
        try:
            return tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _validate(tree: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = _origin(name, origins)
        if first["type"] == "extra_forbidden":
            raise UnknownSetting(_unknown(name, where), name=name) from err
        shown = "***" if _SECRET.search(name) else repr(first.get("input"))
        raise BadSetting(f"{name} = {shown} ({where or 'default'}): {first['msg']}", name=name) from err


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """Where a value came from, or the table that it stands in or is; "" for a default."""
    near = (known for known in origins if f"{name}.".startswith(f"{known}.") or f"{known}.".startswith(f"{name}."))
    return next((origins[known] for known in near), "")


def _unknown(name: str, where: str) -> str:
    import difflib

    known = [known for known, _, _ in leaves(Settings())]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `l07 config show` lists them all"
    return f"there is no setting {name}{f' ({where})' if where else ''}{hint}"
