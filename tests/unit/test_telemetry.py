"""Log lines are JSON events with fields, and never say what a trace said."""

import ast
import json
import logging
import re
from pathlib import Path

import pytest

from l07.telemetry import SPEECH, JsonLines, log, log_to_stderr

SOURCES = sorted((Path(__file__).parents[2] / "l07").rglob("*.py"))
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", log.level)


def test_a_line_is_one_json_object_with_time_level_event_and_fields(capsys) -> None:
    log_to_stderr("info")
    logging.getLogger("l07.somewhere").warning("batch_refused", extra={"batch_id": "default-1", "count": 3})
    line = json.loads(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "event": "batch_refused", "batch_id": "default-1", "count": 3}


def test_below_the_level_nothing_is_said_and_a_second_call_says_nothing_twice(capsys) -> None:
    log_to_stderr("info")
    log_to_stderr("warning")
    log.info("quiet")
    log.error("loud")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


@pytest.mark.parametrize("field", sorted(SPEECH))
def test_a_field_that_may_hold_speech_is_dropped(field) -> None:
    record = logging.makeLogRecord({"msg": "event", field: "what a person said"})
    assert "person" not in JsonLines().format(record)


def test_an_error_s_traceback_stays_on_the_line() -> None:
    try:
        raise ValueError("x")
    except ValueError as err:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (type(err), err, err.__traceback__)})
    assert "ValueError: x" in json.loads(JsonLines().format(record))["traceback"]


def test_every_log_call_in_the_product_is_a_constant_snake_case_event() -> None:
    wrong = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if _is_log_call(node) and not _is_event(node.args[0] if node.args else None):
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "logger"}
    )


def _is_event(node: ast.expr | None) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and bool(re.fullmatch(r"[a-z]+(_[a-z]+)*", node.value))
    )
