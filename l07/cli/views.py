"""What the ledgers say of datasets, jobs and models: a fold over their entries, in the shape in which it is printed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from l07.domain.exports import fold as fold_exports
from l07.domain.registry import STAGE_CHANGED, VALIDATED, fold
from l07.ports import Entry

View = dict[str, Any]
STATES = {
    "job.queued": "PENDING",
    "job.declined": "DECLINED",
    "job.attempt": "INITIALIZING",
    "training.started": "TRAINING",
    "job.preempted": "PENDING",
    "training.completed": "VALIDATING",
    "training.failed": "FAILED",
    "job.cancelled": "CANCELLED",
}


def datasets(entries: Iterable[Entry]) -> dict[str, View]:
    """Published versions by "<track>:<version>", oldest first."""
    found: dict[str, View] = {}
    for entry in entries:
        if entry.kind in ("dataset.created", "dataset.kept"):
            data = entry.body["data"]
            name = f"{data['dataset']}:{data['version']}"
            found[name] = {"id": name, **data, "at": entry.at, "entries": [mark(entry)], "more": _beside(entry)}
            if entry.kind == "dataset.kept":
                found[name]["state"] = "WITHHELD"
        elif entry.kind == "dataset.revoked" and entry.key in found:
            found[entry.key] |= {"state": "REVOKED", "revoked": entry.body["data"]}
            found[entry.key]["entries"].append(mark(entry))
    return found


def exports(entries: Iterable[Entry]) -> dict[str, list[View]]:
    """What was written where, by the version it was made of."""
    found: dict[str, list[View]] = {}
    for one in fold_exports(entries):
        view = {"format": one.format, "path": one.path, "at": one.at, "files": dict(one.files), "erased": one.erased}
        found.setdefault(one.dataset_id, []).append(view)
    return found


def jobs(entries: Iterable[Entry]) -> dict[str, View]:
    """Jobs by id, oldest first; one that has no id yet, or never gets one, goes by its dataset "<track>:<version>"."""
    by_dataset: dict[str, View] = {}
    for entry in entries:
        if entry.kind not in {*STATES, "job.ended"}:
            continue
        dataset = str(entry.body.get("queued") or entry.key)
        if entry.kind == "job.queued":
            _replace_waiting(by_dataset, dataset)
        view = by_dataset.setdefault(
            dataset, {"id": dataset, "dataset": dataset.partition("#")[0], "state": "PENDING", "entries": []}
        )
        view["entries"].append(mark(entry))
        view["at"] = entry.at
        view["state"] = entry.body["state"] if entry.kind == "job.ended" else STATES[entry.kind]
        _job_details(view, entry)
    return {str(view["id"]): view for view in by_dataset.values()}


def _replace_waiting(by_dataset: Mapping[str, View], dataset: str) -> None:
    """A newer version of a track takes the place of the one that waits."""
    track = dataset.rpartition(":")[0]
    for view in by_dataset.values():
        if view["state"] == "PENDING" and view["dataset"].rpartition(":")[0] == track:
            view |= {"state": "REPLACED", "reason": f"by {dataset}"}


def _job_details(view: View, entry: Entry) -> None:
    data = entry.body.get("data") or {}
    ident = data.get("job_id") or entry.body.get("job_id")
    if ident:
        view["id"] = ident
    if entry.kind in ("job.declined", "job.cancelled") and entry.body.get("reason"):
        view["reason"] = entry.body.get("reason")
    elif entry.kind == "training.started":
        view |= {"attempt": data.get("attempt"), "base_model": data.get("base_model"), "method": data.get("method")}
        view["started"] = data
    elif entry.kind == "training.completed":
        view["completed"] = data
    elif entry.kind == "training.failed":
        view |= {"code": data.get("code"), "message": data.get("message"), "failed": data}


def models(entries: Sequence[Entry]) -> dict[str, View]:
    """Models by "<name>:<version>", oldest first; stage and verdict as the registry's own fold has them."""
    found: dict[str, View] = {}
    for subject, model in fold(entries).models.items():
        about = [entry for entry in entries if entry.body.get("subject") == subject]
        found[model.id] = {
            "id": model.id,
            "stage": model.stage.value,
            "verdict": model.verdict,
            **({"tainted": f"replace by {model.tainted}"} if model.tainted else {}),
            "at": about[-1].at,
            "digest": model.digest,
            "uri": model.uri,
            "base_model": model.base_model,
            "lineage": dict(model.lineage),
            "labels": list(model.labels),
            "validated": _last_data(about, VALIDATED),
            "moves": [entry.body["data"] for entry in about if entry.kind == STAGE_CHANGED],
            "entries": [mark(entry) for entry in about],
        }
    return found


def _last_data(entries: Sequence[Entry], kind: str) -> View | None:
    return next((dict(entry.body["data"]) for entry in reversed(entries) if entry.kind == kind), None)


def mark(entry: Entry) -> View:
    """Where a fact stands in its ledger."""
    return {"ledger": entry.ledger, "number": entry.number, "kind": entry.kind, "at": entry.at, "hash": entry.hash}


def pick(views: Mapping[str, View], name: str) -> View | None:
    """By full id, or the newest whose id begins with `name` and a colon."""
    if name in views:
        return views[name]
    newest: Sequence[View] = [view for key, view in views.items() if key.startswith(f"{name}:")]
    return newest[-1] if newest else None


def _beside(entry: Entry) -> View:
    """What the entry holds beside the event: internal, and part of the lineage."""
    return {name: value for name, value in entry.body.items() if name not in {"data", "subject"}}
