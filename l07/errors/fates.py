"""Every way to fail, once: the base class says what happens next, the subclass carries the code.

L07Error
 ├─ Poison      this message can never succeed: dead-letter topic, go on
 │   └─ BadEvent    the one exception type of the decoder (E7000-E7029)
 ├─ Transient   the world is down: back off, same message again
 ├─ Fatal       we are misconfigured, or something would be lost: stop, exit 1
 └─ Refused     a person asked for what cannot be: said to the caller, nothing else changes
"""

from typing import ClassVar


class L07Error(Exception):
    """Base of all; `context` is data for logs and never holds a prompt or an answer."""

    code: ClassVar[str] = ""

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


class Poison(L07Error):
    """This message can never succeed."""


class Transient(L07Error):
    """The world is down; the same message will be tried again."""


class Fatal(L07Error):
    """We are misconfigured, or going on would lose something."""


class Refused(L07Error):
    """A person asked for something that cannot be done as asked."""


class BadEvent(Poison):
    """The decoder's one exception type; each subclass is one reason."""
