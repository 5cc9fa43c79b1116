from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, Any]

def of_steps(
    steps: list[Any],
    messages: list[Message],
    arguments_of: Callable[[Any], dict[str, Any]],
    text_of: Callable[[Any], str],
    filled: Callable[[Any], str],
) -> None: ...
def of_chat(
    said: list[Any], roles: Mapping[str, str], arguments_of: Callable[[Any], dict[str, Any]]
) -> list[Message] | None: ...
