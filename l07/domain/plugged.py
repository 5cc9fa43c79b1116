"""Functions that users bring, by the name that a setting has."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from l07.errors import NoScanner


@cache
def plugged(name: str, setting: str, group: str) -> Callable[..., Any]:
    """An entry point of the group, or `package.module:function`.

    Raises:
        NoScanner: E7107, there is none, or it cannot be called."""
    for point in entry_points(group=group, name=name):
        return _callable(name, point.load(), setting)
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as err:
        said = f"{setting} names {name!r}, which is no entry point of {group} and no package.module:function that can be imported"
        raise NoScanner(f"{said}: {err}") from err
    return _callable(name, found, setting)


def _callable(name: str, found: object, setting: str) -> Callable[..., Any]:
    if not callable(found):
        raise NoScanner(f"{setting} names {name!r}, which is a {type(found).__name__} and no function")
    return found
