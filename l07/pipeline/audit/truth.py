"""Labels of runs that are known to be spoiled: beside the data as lines of JSON, or in the events themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from l07.errors import BadAudit
from l07.ports import SealedRow

CLEAN = ("", "clean", "none")


def from_lines(lines: Iterable[tuple[int, bytes]], rows: Sequence[SealedRow], *, file: str) -> dict[str, str]:
    """Natural key -> label, "" for a run that is known to be clean.

    A line is {"execution_id": ..., "label": ...}, or plan_id. Raises BadAudit (E7910) with the line, or where no line is
    about a run of `rows`."""
    labels: dict[str, str] = {}
    for number, line in lines:
        if line.strip():
            labels |= _of_line(line, f"{file}, line {number}")
    return _of_rows(labels, rows, file)


def _of_line(line: bytes, where: str) -> dict[str, str]:
    try:
        said = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise BadAudit(f"{where}: {err}") from err
    ids = [f"{kind}:{said[f'{kind}_id']}" for kind in ("execution", "plan") if said.get(f"{kind}_id")]
    if len(ids) != 1 or "label" not in said:
        raise BadAudit(f'{where}: a label needs execution_id (or plan_id) and label, such as {{"label": "hijack"}}')
    return {ids[0]: _label(said["label"], "spoiled")}


def from_field(path: str, rows: Sequence[SealedRow]) -> dict[str, str]:
    """The same from a field of the events' `data`, such as `labels.hijack`: of the trace, else of its score. A text is
    the label, true is the field's own name. Raises BadAudit (E7910) where no event has the field."""
    labels = {}
    for row in rows:
        for body in (row.trace, row.request, row.evaluation):
            value = _at(msgspec.json.decode(body).get("data"), path) if body else None
            if value is not None:
                labels[row.key] = _label(value, path.rpartition(".")[2])
                break
    return _of_rows(labels, rows, path)


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _label(value: Any, name: str) -> str:
    if value is True:
        return name
    text = "" if value in (False, None) else str(value)
    return "" if text.lower() in CLEAN else text


def _of_rows(labels: Mapping[str, str], rows: Sequence[SealedRow], name: str) -> dict[str, str]:
    found = {row.key: labels[row.key] for row in rows if row.key in labels}
    if not found:
        raise BadAudit(
            f"{name} labels none of these {len(rows)} runs: it is neither a file of labels nor a field of the events"
        )
    return found
