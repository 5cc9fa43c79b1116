"""A version for other trainers: JSON lines a split, in a folder that appears whole or not at all.

The folder says of itself what it is: `export.json` has the version's digest, what was left out and why, and every
file's sha256; README.md is the card for `datasets.load_dataset`; `dataset_info.json` is LLaMA-Factory's.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from l07.backends.parquet import verify
from l07.backends.parquet_rows import iter_in_order, iter_rows
from l07.backends.preferring import Preferences
from l07.domain.dataset import SPLITS
from l07.domain.formats import SHAPES, Shape, Shaped, Unfit
from l07.domain.preference import PreferenceRules
from l07.errors import BadExport, NothingToExport, OutputTaken, disk_errors

MARK = "export.json"
PREFERENCE = ("dpo", "kto")
RANKS = {"curriculum": "rank", "shuffled": "rank_shuffled"}
NAMED = 1000  # rows left out that are named; all are counted


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is asked for. `output` is a file where its name ends in .jsonl, and then takes one split."""

    folder: Path  # of the version
    shape: str
    output: Path
    splits: Sequence[str] = SPLITS
    order: str = "stored"  # or curriculum, shuffled: of the train rows
    force: bool = False  # replace a file, or a folder that is an export
    preference: PreferenceRules = field(default_factory=PreferenceRules)  # of dpo and kto

    @property
    def one_file(self) -> bool:
        return self.output.suffix == ".jsonl"


Note = Callable[[Mapping[str, Any], Path, Mapping[str, str]], None]


def export(request: ExportRequest, note: Note | None = None) -> dict[str, Any]:
    """Write it; what was written, as in `export.json`. The same version gives the same bytes. `note` is told what will lie
    where, with each file's sha256, before anything does: an erasure has to find it again.

    Raises:
        OutputTaken: E7920, something stands there, and `force` is not said or must not replace it.
        BadExport: E7921, one file for several splits, or an order that the format or the version has not.
        NothingToExport: E7922, no row of these splits fits the format.
        DatasetChanged (E7102), DatasetUnreadable (E7103), StoreFull (E7400), FolderNotWritable (E7402)."""
    _check(request)
    manifest = verify(request.folder)
    if request.order != "stored" and not manifest.get("curriculum"):
        raise BadExport(f"{request.folder} was made by a release that wrote no curriculum", folder=str(request.folder))
    scratch = request.output.with_name(f".{request.output.name}.{os.getpid()}")
    try:
        with disk_errors(request.output):
            scratch.mkdir(parents=True)
            said = _fill(request, manifest, scratch)
            if note is not None:
                note(said, *_placed(request, scratch))
            _into_place(request, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return said | {"output": str(request.output)}


def _check(request: ExportRequest) -> None:
    output = request.output
    if request.one_file and len(request.splits) != 1:
        text = f"{output} is one file, and {', '.join(request.splits)} are several splits: name one with --split, or a folder"
        raise BadExport(text, output=str(output))
    if request.order != "stored" and request.shape in PREFERENCE:
        raise BadExport(f"{request.shape} has no order {request.order}: pairs and labels are of several runs")
    if not (output.exists() or output.is_symlink()):
        return
    if not request.force:
        raise OutputTaken(f"{output} is there already; --force replaces it", output=str(output))
    replaceable = output.is_file() if request.one_file else (output / MARK).is_file() and not output.is_symlink()
    if not replaceable:
        raise OutputTaken(f"{output} is not an export, so --force does not replace it", output=str(output))


def _fill(request: ExportRequest, manifest: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    source = _source(request)
    tallies = {split: _Tally() for split in request.splits}
    for split, tally in tallies.items():
        _write(scratch / f"{split}.jsonl", tally.shaped(source.rows(split), source.shape))
    if not any(tally.rows for tally in tallies.values()):
        left = {split: dict(tally.reasons) for split, tally in tallies.items()}
        raise NothingToExport(f"no row of {', '.join(request.splits)} fits {request.shape}: {left}", left_out=left)
    said = {
        "for": request.shape,
        **{name: manifest[name] for name in ("dataset", "version", "digest")},
        "splits": {split: tally.said() for split, tally in tallies.items()},
        **source.said(),
    }
    return _finish(said, scratch)


def _source(request: ExportRequest) -> "_Rows | _Preferred":
    return _Preferred(request) if request.shape in PREFERENCE else _Rows(request)


class _Rows:
    """The splits' own rows."""

    def __init__(self, request: ExportRequest) -> None:
        self._folder = request.folder
        self.shape = SHAPES[request.shape]

        self._order = request.order

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        if split == "train" and self._order != "stored":
            return iter_in_order(self._folder, RANKS[self._order])
        return iter_rows(self._folder, split)

    def said(self) -> dict[str, Any]:
        return {"order": self._order}


class _Preferred:
    """Pairs, or labels, of the splits' rows and the rejected ones beside them."""

    def __init__(self, request: ExportRequest) -> None:
        self._rules = request.preference
        self._found = Preferences(request.folder, self._rules, kind=request.shape)
        self.rows = self._found.rows

    @staticmethod
    def shape(row: Mapping[str, Any]) -> Shaped:
        return Shaped(dict(row))

    def said(self) -> dict[str, Any]:
        return {"preference": self._found.said() | {"rules": asdict(self._rules)}}


class _Tally:
    """What became of a split's rows."""

    def __init__(self) -> None:
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.left_out: list[dict[str, str]] = []

    def shaped(self, rows: Iterable[Mapping[str, Any]], shape: Shape) -> Iterator[dict[str, Any]]:
        for row in rows:
            made = shape(row)
            if isinstance(made, Unfit):
                self.reasons[made.reason] += 1
                self.left_out += [{"key": row["key"], "reason": made.reason}] if len(self.left_out) < NAMED else []
            else:
                self.rows += 1
                self.notes.update(made.notes)
                yield made.row

    def said(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "left_out": dict(sorted(self.reasons.items())),
            "notes": dict(sorted(self.notes.items())),
            "left_out_rows": self.left_out,
        }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")


def _finish(said: dict[str, Any], scratch: Path) -> dict[str, Any]:
    full = [split for split, tally in said["splits"].items() if tally["rows"]]
    for split in said["splits"].keys() - set(full):
        (scratch / f"{split}.jsonl").unlink()  # `datasets` fails on a file without rows
    (scratch / "README.md").write_text(_card(said, full), "utf-8")
    if said["for"] == "sharegpt":
        _write_json(_llama_factory(said, full), scratch / "dataset_info.json")
    said["files"] = {path.name: _file(path) for path in sorted(scratch.iterdir())}
    _write_json(said, scratch / MARK)
    return said


def _card(said: Mapping[str, Any], splits: Sequence[str]) -> str:
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    rows = "".join(f"| {split} | {said['splits'][split]['rows']} |\n" for split in splits)
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
        f"# {said['dataset']} {said['version']} for {said['for']}\n\nMade from the version with digest"
        f" `{said['digest']}`; what was left out and why: `{MARK}`.\n\n| split | rows |\n|---|---|\n{rows}"
    )


def _llama_factory(said: Mapping[str, Any], splits: Sequence[str]) -> dict[str, Any]:
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    return {
        f"{said['dataset']}_{split}": {"file_name": f"{split}.jsonl", "formatting": "sharegpt", "columns": columns}
        for split in splits
    }


def _placed(request: ExportRequest, scratch: Path) -> tuple[Path, dict[str, str]]:
    """The output from the root, and the files' sha256 by their paths in it."""
    home = request.output.parent.resolve() / request.output.name
    if request.one_file:
        return home, {str(home): _file(scratch / f"{request.splits[0]}.jsonl")["sha256"]}
    return home, {str(home / path.name): _file(path)["sha256"] for path in sorted(scratch.iterdir())}


def _into_place(request: ExportRequest, scratch: Path) -> None:
    output = request.output
    if request.one_file:
        (scratch / f"{request.splits[0]}.jsonl").replace(output)
        return
    if output.exists():
        output.rename(scratch.with_name(f"{scratch.name}.old"))
    scratch.rename(output)
    shutil.rmtree(scratch.with_name(f"{scratch.name}.old"), ignore_errors=True)


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
