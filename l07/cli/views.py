"""What the ledgers say of datasets, jobs and models: a fold over their entries, in the shape in which it is printed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from l07.domain import job_ledger
from l07.domain.exports import fold as fold_exports
from l07.domain.registry import EXPORTED, STAGE_CHANGED, VALIDATED, fold
from l07.ports import Entry

View = dict[str, Any]


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


def jobs(entries: Sequence[Entry]) -> dict[str, View]:
    """Jobs by id, oldest first; one that has no id yet, or never gets one, goes by its key. Of two with one id the older
    stands under its key."""
    found: dict[str, View] = {}
    about = _entries_by_job(entries)
    for key, job in job_ledger.fold(entries).items():
        view: View = {"id": job.ident or key, "dataset": job.dataset, "state": job.standing, "key": key}
        told = {
            "attempt": job.attempts, "preempted": job.preempted, "priority": job.priority, "owner": job.owner, "code": job.code,
            "reason": job.reason, "method": job.body.get("method"),
        }  # fmt: skip
        view |= {name: value for name, value in told.items() if value}
        for entry in about[key]:
            view |= _job_details(entry)
        view |= {"at": about[key][-1].at, "entries": [mark(entry) for entry in about[key]]}
        if (older := found.pop(str(view["id"]), None)) is not None:
            found[str(older["key"])] = older
        found[str(view["id"])] = view
    return found


def _entries_by_job(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(str(entry.body.get("queued") or entry.key), []).append(entry)
    return found


def _job_details(entry: Entry) -> View:
    data = entry.body.get("data") or {}
    if entry.kind == job_ledger.STARTED:
        return {"base_model": data.get("base_model"), "method": data.get("method"), "started": data}
    if entry.kind == job_ledger.COMPLETED:
        return {"completed": data}
    if entry.kind == job_ledger.FAILED:
        return {"message": data.get("message"), "failed": data}
    return {}


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
            **_exported(about),
            "entries": [mark(entry) for entry in about],
        }
    return found


def _exported(about: Sequence[Entry]) -> View:
    """To whom it was handed over."""
    names = ("for", "to", "name", "stage", "by", "unsafe")
    told = [
        {"at": entry.at, **{name: entry.body["data"][name] for name in names}}
        for entry in about
        if entry.kind == EXPORTED
    ]
    return {"exports": told} if told else {}


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
