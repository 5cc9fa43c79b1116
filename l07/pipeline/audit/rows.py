"""Runs with plants in them, as the buffer would hand them to the curator."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from l07.domain.example import TrainingExample
from l07.domain.plants.plan import KINDS, Plant
from l07.ports import Seal, SealedBatch, SealedRow

OTHER_DIALECTS = ("trace", "task_definition", "execution_trace", "plan", "planning_trace", "task_description")
AT_MS = 1_767_600_000_000  # when the batches say that they were sealed; no clock shows in an audit


def rewritten(trace: bytes, example: TrainingExample) -> bytes:
    """The event with this example as its run, in the chat dialect. What else the event says of the run stays."""
    event = msgspec.json.decode(trace)
    kind, _, ident = example.key.partition(":")
    data = {name: value for name, value in event["data"].items() if name not in OTHER_DIALECTS}
    known: Mapping[str, Any] = {
        f"{kind}_id": ident,
        "task_id": example.task_id,
        "agent_id": example.agent_id,
        "domain": example.domain,
        "task_type": example.task_type,
        "goal": example.goal,
        "outcome": example.outcome,
        "messages": example.messages,
        "tools": example.tools or None,
    }
    event["data"] = data | {name: value for name, value in known.items() if value is not None}
    return msgspec.json.encode(event)


def with_plants(
    rows: Sequence[SealedRow], plants: Iterable[Plant], contradicted: Mapping[str, SealedRow] | None = None
) -> tuple[list[SealedRow], dict[str, SealedRow]]:
    """The rows with every plant in its place, a copy right behind its original; and later scores by the run's key.
    `contradicted`: what the join made of runs with two scores, by key."""
    found = {row.key: row for row in rows}
    placed: dict[str, SealedRow] = {}
    behind: dict[str, SealedRow] = {}
    later: dict[str, SealedRow] = {}
    for plant in plants:
        row = found[plant.of]
        if plant.second is not None:
            placed[plant.of] = (contradicted or {})[plant.of]
            continue
        if plant.judged_as:
            row = row._replace(evaluation=found[plant.judged_as].evaluation)
        if plant.fault == "late_score":
            score, sure = plant.example.quality_score, plant.example.confidence
            later[plant.of] = row._replace(
                trace=b"", revision=True, decision="REJECT", reasons=("low_score",), score=score, confidence=sure
            )
        else:
            (behind if KINDS[plant.kind].adds else placed)[plant.of] = _planted(row, plant)
    out: list[SealedRow] = []
    for row in rows:
        out.append(placed.get(row.key, row))
        if row.key in behind:
            out.append(behind[row.key])
    return out, later


def _planted(row: SealedRow, plant: Plant) -> SealedRow:
    example = plant.example
    return row._replace(
        key=example.key,
        trace=rewritten(row.trace, example),
        request=None,
        request_at=None,
        score=example.quality_score,
        confidence=example.confidence,
        decision="ACCEPT",
        reasons=(),
    )


def sealed(
    track: str, rows: Sequence[SealedRow], later: Mapping[str, SealedRow], *, count: int
) -> Iterator[SealedBatch]:
    """Batches as `count` accepted runs seal them, the rest at the end; a later score comes a batch after its run."""
    held: list[SealedRow] = []
    number, accepted = 1, 0
    for row in rows:
        held.append(row)
        accepted += row.decision == "ACCEPT"
        if accepted == count:
            yield _batch(track, number, held)
            held, number, accepted = _later(held, later), number + 1, 0
    while held:
        yield _batch(track, number, held)
        held, number = _later(held, later), number + 1


def _later(rows: Sequence[SealedRow], later: Mapping[str, SealedRow]) -> list[SealedRow]:
    return [later[row.key] for row in rows if row.key in later and not row.revision]


def _batch(track: str, number: int, rows: Sequence[SealedRow]) -> SealedBatch:
    accepted = sum(row.decision == "ACCEPT" for row in rows)
    return SealedBatch(
        Seal(f"{track}-{number}", track, "count", AT_MS + number, accepted, len(rows) - accepted, {}, {}), list(rows)
    )
