"""Two versions of a dataset side by side: which rows came, went, say something else, or stand elsewhere, and what
else differs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l07.domain.dataset import SPLITS

Row = Mapping[str, Any]  # of read_members
Counts = dict[str, int]

FIELDS = (
    "quality_score", "confidence", "decision", "reasons", "table", "split", "group", "task", "task_type", "domain",
    "source", "difficulty", "content",
)  # fmt: skip
COUNTED = ("splits", "domains", "difficulties", "task_types", "groups")
SETTINGS = ("meaning", "config", "seed", "golden", "sketch", "deeds", "schema")
MAJOR, MINOR, PATCH, NONE = "major", "minor", "patch", "none"


@dataclass(frozen=True, slots=True)
class Side:
    """One version: its manifest, whom it knows, and its groups as {"id", "tasks", "split"}. Members that both versions
    know and that stand alike in both may be left out; then `sources` has the rows in the splits by source."""

    manifest: Mapping[str, Any]
    members: Iterable[Row]
    groups: Iterable[Mapping[str, Any]]
    sources: Mapping[str, int] | None = None


def difference(old: Side, new: Side, *, rows: int = -1) -> dict[str, Any]:
    """What `new` has that `old` has not, as one JSON object; `rows` bounds each list of rows (-1: all), counts are
    always over all.

    added, removed and altered are about the splits, as the version's number is; `moved` is about every table. Digests
    tell whether any row differs: equal digests, nothing to list."""
    before = {row["key"]: row for row in old.members}
    after = {row["key"]: row for row in new.members}
    added = [_place(row) for key, row in sorted(after.items()) if _learnt(row) and not _learnt(before.get(key))]
    removed = [_left(before[key], after.get(key)) for key in sorted(before) if _gone(before[key], after.get(key))]
    altered = [
        {"key": key, "fields": fields}
        for key, row in sorted(after.items())
        if _learnt(row) and _learnt(before.get(key)) and (fields := _changed(before[key], row))
    ]
    return {
        "from": _head(old.manifest),
        "to": _head(new.manifest),
        "same": old.manifest["digest"] == new.manifest["digest"],
        "level": level(old.manifest, new.manifest, added=len(added), changed=len(removed) + len(altered)),
        "rows": {"added": len(added), "removed": len(removed), "altered": len(altered)},
        "removed_reasons": _counted(reason for row in removed for reason in row["reasons"]),
        "altered_fields": _counted(name for row in altered for name in row["fields"]),
        "moved": _moved(before, after),
        "groups": _groups(old.groups, new.groups, rows),
        "settings": _settings(old.manifest, new.manifest),
        "counts": _counts(old.manifest, new.manifest)
        | {"sources": _both(_sources(old, before.values()), _sources(new, after.values()))},
        "added": _first(added, rows),
        "removed": _first(removed, rows),
        "altered": _first(altered, rows),
    }


def level(old: Mapping[str, Any], new: Mapping[str, Any], *, added: int, changed: int) -> str:
    """Which part of the number must rise: major: another meaning of rows or labels; minor: rows added; patch: rows
    removed or altered; none: nothing that a version would be published for."""
    if old["meaning"] != new["meaning"]:
        return MAJOR
    if added:
        return MINOR
    return PATCH if changed else NONE


def _learnt(row: Row | None) -> bool:
    return row is not None and row["table"] in SPLITS


def _gone(row: Row, later: Row | None) -> bool:
    return _learnt(row) and not _learnt(later)


def _head(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest[name] for name in ("dataset", "version", "digest", "parent", "schema")}


def _place(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("key", "table", "domain", "source", "quality_score")}


def _left(row: Row, later: Row | None) -> dict[str, Any]:
    """Why: the reasons that the later version gives and the older did not; a row that it does not know any more was
    erased, or belongs to another history."""
    if later is None:
        return {**_place(row), "to": "", "reasons": ["unknown_to_the_later"]}
    fresh = [reason for reason in later["reasons"] if reason not in row["reasons"]]
    return {**_place(row), "to": later["table"], "reasons": fresh or ["no_reason_given"]}


def _changed(row: Row, later: Row) -> dict[str, Any]:
    """Field -> [old, new]; a text's digest is not told, only that the text is another."""
    return {
        name: "changed" if name == "content" else [row[name], later[name]]
        for name in FIELDS
        if row[name] != later[name]
    }


def _moved(before: Mapping[str, Row], after: Mapping[str, Row]) -> Counts:
    """ "train -> contrast": rows that both know, in another table each; "out": known, and in none."""
    return _counted(
        f"{row['table'] or 'out'} -> {after[key]['table'] or 'out'}"
        for key, row in before.items()
        if key in after and row["table"] != after[key]["table"]
    )


def _groups(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], rows: int) -> dict[str, Any]:
    """Groups that became one: those of the older version whose tasks one group of the newer holds."""
    of_task = {task: group["id"] for group in old for task in group["tasks"]}
    merged, fresh = [], 0
    for group in new:
        parts = sorted({of_task[task] for task in group["tasks"] if task in of_task})
        if len(parts) > 1:
            merged.append({"into": group["id"], "split": group["split"], "from": parts})
        fresh += not parts
    return {"new": fresh, "merged": len(merged), "merges": _first(sorted(merged, key=lambda m: str(m["into"])), rows)}


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name -> [old, new] of what the versions were built with; None: that version does not name it."""
    one, other = _flat(old), _flat(new)
    names = sorted(one.keys() | other.keys())
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}


def _flat(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SETTINGS:
        value = manifest.get(name)
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found


def _counts(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """By split, domain, ...: value -> [rows before, rows now], only where they differ."""
    beside = {"contrast": [old["contrast"], new["contrast"]], "review": [old["review"], new["review"]]}
    return {name: _both(old[name], new[name]) for name in COUNTED} | {"beside": beside}


def _sources(side: Side, members: Iterable[Row]) -> Mapping[str, int]:
    return _counted(row["source"] for row in members if _learnt(row)) if side.sources is None else side.sources


def _both(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, list[int]]:
    names = sorted(one.keys() | other.keys())
    return {name: [one.get(name, 0), other.get(name, 0)] for name in names if one.get(name, 0) != other.get(name, 0)}


def _counted(values: Iterable[str]) -> Counts:
    return dict(sorted(Counter(values).items()))


def _first(items: Sequence[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    return list(items if rows < 0 else items[:rows])
