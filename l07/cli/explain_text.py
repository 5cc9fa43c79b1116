"""A run's story as text: the conclusion first, then what it rests on, in the order in which it happened."""

from collections.abc import Mapping, Sequence
from typing import Any

from l07.cli.console import Console

EVENT = ("at", "part", "use", "recorded", "type", "id", "score", "confidence", "track", "why")
VERSION = ("version", "table", "split", "decision", "reasons", "scores", "group", "group_rows", "batch_id", "change")


def show(story: Mapping[str, Any], console: Console) -> None:
    console.line(f"{story['id']}: {story['now']}")
    _table(console, "events", EVENT, story["events"])
    _table(console, "dead letters that mention it", ("id", "code", "at", "retried", "message"), story["dead_letters"])
    if story["buffer"] and story["buffer"]["state"] != "unknown":
        console.line()
        console.fields(story["buffer"], title="buffer")
    batches = [{"batch": batch["batch"], **entry} for batch in story["batches"] for entry in batch["entries"]]
    _table(console, "batches in the ledger", ("batch", "number", "kind", "key", "at", "message"), batches)
    _table(console, "datasets", VERSION, [_short(line) for line in story["datasets"]])
    if story["datasets"] and len(story["datasets"][-1]["group_tasks"] or ()) > 1:
        console.line(f"its group ties these tasks together: {', '.join(story['datasets'][-1]['group_tasks'])}")
    _table(console, "jobs that trained on it", ("id", "dataset", "state", "base_model", "at"), story["jobs"])
    _table(console, "models made of it", ("id", "stage", "verdict", "at"), story["models"])


def _short(line: Mapping[str, Any]) -> Mapping[str, Any]:
    scores = ", ".join(f"{name} {value:g}" for name, value in line["scores"].items())
    return {**line, "reasons": ", ".join(line["reasons"]), "scores": scores}


def _table(console: Console, title: str, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Without the columns that no line fills."""
    shown = [name for name in columns if any(line.get(name) not in (None, "") for line in lines)]
    console.table(shown, [[line.get(name) for name in shown] for line in lines], title=f"\n{title}")
