"""The `l07` command. This file and parser.py import nothing heavy: `l07 --help` answers in a quarter of a second."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from l07.errors import L07Error, StoreFull

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
CLOSED_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 a coded error (one line on stderr), 2 wrong usage, 130 Ctrl-C."""
    from l07.cli.console import Console
    from l07.cli.parser import build_parser

    for name in ("stdout", "stderr"):
        if (
            getattr(sys, name) is None
        ):  # `>&-`: the caller closed it and wants no answer; a file must not take its place
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # lives as long as we do
    args = build_parser().parse_args(argv)
    console = Console(as_json=bool(args.json))
    module, _, name = args.handler.partition(":")
    try:
        status: int = getattr(import_module(module), name)(args, console)
        console.flush()
    except L07Error as err:
        console.error(str(err))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `l07 events | head`: the reader has had enough
        _write_no_more()
        return CLOSED_PIPE
    except OSError as err:  # what reads or writes files has its own codes; this is `l07 events > FILE`
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        console.error(str(StoreFull("no space left where the output goes")))
        _write_no_more()
        return 1
    return status


def _write_no_more() -> None:
    """Nor what is still in the buffer, when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
