"""JSON log lines on stderr: a constant snake_case event with fields, and never a prompt or an answer."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]

log = logging.getLogger("l07")

# What a trace says. A field of this name is dropped from a log line, whoever passes it.
SPEECH = frozenset(
    {"messages", "prompt", "prompts", "completion", "completions", "content", "answer", "final_answer"}
    | {"body", "raw", "value", "data"}
)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """{"time", "level", "event", ...fields}, one line a record; fields are what the call passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in SPEECH}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Stderr(logging.Handler):
    """Looks the stream up for each line, so that a redirected stderr gets what follows."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


def log_to_stderr(level: Level) -> None:
    """Send our log lines to stderr from this level on; called again it only changes the level."""
    handler = _Stderr()
    handler.setFormatter(JsonLines())
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
