"""docs/wire.md says what the classes say."""

import re
from pathlib import Path

import msgspec
import pytest

from l07.events import deadletter, dialects, inbound, outbound, outdata
from l07.events.dialects import chat, plans, steps, task_definition
from l07.settings import Types
from tests.unit.events.corpus import cases

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]

IN = {
    "`data` of a score": inbound.ScoreData,
    "`data` of a review": inbound.ReviewData,
    "`data` of a trace or a plan": dialects.RunData,
    "`trace`": steps.StepTrace,
    "`trace.steps[]`": steps.Step,
    "`task_definition`": task_definition.TaskDefinition,
    "`execution_trace[]`": task_definition.Action,
    "`messages[]`": chat.ChatMessage,
    "`messages[].tool_calls[]`": chat.ToolCall,
    "`plan`, `planning_trace`": plans.Plan,
}


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("name", IN)
def test_fields_that_are_read(name: str) -> None:
    row = next(row for row in ROWS if row[0] == name and len(row) == 2)
    assert words(row[1]) == [field.encode_name for field in msgspec.structs.fields(IN[name])]


def test_types_that_are_read() -> None:
    types = Types()
    roles = ("trace", "plan", "score", "review", "request", "response")
    read = {row[1]: tuple(words(row[0])) for row in ROWS if row[1] in roles}
    assert read == {role: getattr(types, role) for role in roles}


@pytest.mark.parametrize("kind", sorted(outbound.TYPES))
def test_events_that_are_emitted(kind: str) -> None:
    row = next(row for row in ROWS if row[0] == f"`{kind}`")
    fields = msgspec.structs.fields(outbound.data_class(outbound.TYPES[kind]))
    assert words(row[1]) == [outbound.TYPES[kind].SOURCE]
    assert words(row[2]) == [field.encode_name for field in fields if field.required]
    assert (words(row[3]) if len(row) > 3 else []) == [field.encode_name for field in fields if not field.required]


def test_no_event_is_missing_and_none_too_many() -> None:
    out = PAGE.split("## Out")[1]
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", out, re.MULTILINE)) == {*outbound.TYPES, *deadletter.TYPES}


def test_the_stage_of_a_validation() -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("A stage of"))
    assert words(line)[1:] == [field.encode_name for field in msgspec.structs.fields(outdata.StageData)]


@pytest.mark.parametrize("kind", sorted(deadletter.TYPES))
def test_dead_letters(kind: str) -> None:
    row = next(row for row in ROWS if row[0] == f"`{kind}`")
    source, struct = deadletter.TYPES[kind]
    assert words(row[1]) == [source]
    assert words(row[2]) == list(struct.__struct_fields__)


def test_the_evidence_of_a_rollback() -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("The evidence of"))
    assert words(line)[1:] == [field.encode_name for field in msgspec.structs.fields(outdata.EvidenceData)]


def test_every_reason_stands_there_and_has_a_case() -> None:
    table = PAGE.split("### Reasons")[1].split("## Out")[0]
    reasons = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert reasons | {"type_not_read"} == {case["reason"] for case in cases() if case["expect"] == "rejected"}
