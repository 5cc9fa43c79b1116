"""The card of a dataset version: README.md with the YAML head that `datasets.load_dataset(dir)` looks for."""

import json
from collections.abc import Mapping
from typing import Any

from l07.domain.dataset import SPLITS
from l07.domain.markdown import cell, table

_HEAD = """---
license: {licence}
pretty_name: {name}
configs:
- config_name: default
  default: true
  data_files:
{splits}
{beside}---
"""
_BESIDE = """- config_name: {table}
  data_files:
  - split: {split}
    path: {path}
"""
_LOAD = """```python
from datasets import load_dataset

rows = load_dataset("path/to/this/folder")                     # train, validation, test
rejected = load_dataset("path/to/this/folder", "contrast")     # never to imitate; only where there are some
order = load_dataset("path/to/this/folder", "curriculum")      # key, stage, rank, rank_shuffled of the train rows
```"""
_TITLES = {
    "score.svg": "Quality scores of the rows in the splits and of the rejected ones beside them",
    "difficulty.svg": "Difficulty of the runs",
    "length.svg": "Length of the runs",
    "domains.svg": "Rows by domain and split",
    "left.svg": "Why rows are in no split",
    "own.svg": "Share of rows that our own models did, version by version",
}
_LIMITS = """- Scores are the evaluator's. That a run scored well does not prove that it was right.
- Difficulty is measured from the run's structure, and in the curriculum from how often runs of its task fail; nobody judged it.
- A row without `tools` is of a run that named none.
- Secrets and personal data are replaced by stable placeholders as far as rules know them; counts stand in `manifest.json`.
- Rows of one group never stand in two splits. Two tasks that are alike in meaning alone may."""
MOST_REASONS = 25


def card(manifest: Mapping[str, Any], plots: Mapping[str, str] | None = None) -> str:
    """Everything that it says stands in the manifest; `plots`: the names of files in `plots/` that it shows. A table
    without rows is not offered: `datasets` fails on it."""
    shown = [name for name in _TITLES if name in (plots or {})]
    parts = [
        _what(manifest),
        f"## How to load it\n\n{_LOAD}\n\n`messages` and `tools` have the shape of OpenAI chat; arguments are objects under"
        " `datasets`, JSON text elsewhere. Other shapes: `l07 datasets export`. `croissant.json` describes files and columns.",
        _tables(manifest),
        _numbers(manifest, shown),
        _left(manifest, shown),
        _clusters(manifest),
        _curriculum(manifest),
        _own(manifest, shown),
        _warnings(manifest),
        f"## Known limits\n\n{_LIMITS}",
        f"## Licence\n\n{manifest['config'].get('license') or 'Not stated: the setting `license` names it.'}",
    ]
    return _head(manifest) + "\n\n".join(part for part in parts if part) + "\n"


def _head(manifest: Mapping[str, Any]) -> str:
    splits = "\n".join(f"  - split: {split}\n    path: data/{split}-*.parquet" for split in SPLITS)
    beside = "".join(
        _BESIDE.format(table=table, split=table, path=f"data/{table}-*.parquet")
        for table in ("contrast", "review")
        if manifest[table]
    )
    if manifest.get("curriculum", {}).get("stages"):
        beside += _BESIDE.format(table="curriculum", split="train", path="curriculum.parquet")
    name = json.dumps(f"{manifest['dataset']} {manifest['version']}")
    licence = json.dumps(manifest["config"].get("license") or "unknown")
    return _HEAD.format(licence=licence, name=name, splits=splits, beside=beside)


def _what(manifest: Mapping[str, Any]) -> str:
    return (
        f"# {manifest['dataset']} {manifest['version']}\n\n"
        f"Agent runs that are good enough to learn from. Digest `{manifest['digest']}`.\n"
        f"Against {manifest['parent'] or 'nothing'}: {manifest['added']} rows added, {manifest['removed']} removed,"
        f" {manifest['altered']} changed."
    )


def _tables(manifest: Mapping[str, Any]) -> str:
    rows = [
        *((split, manifest["splits"][split], manifest["groups"][split]) for split in SPLITS),
        ("contrast (rejected; never to imitate)", manifest["contrast"], ""),
        ("review (waits for a person)", manifest["review"], ""),
    ]
    return (
        f"## What is in it\n\n{table(('table', 'rows', 'groups'), rows)}\n\nRows of one group (a task, its near duplicates,"
        " and tasks whose runs made exactly the same calls) are in one\nsplit, for ever. Where each row came from:"
        " `provenance/`; why each run is where it is: `runs/` and `standing/`, line by line;\nwhich numbers decided: `manifest.json`."
    )


def _numbers(manifest: Mapping[str, Any], shown: list[str]) -> str:
    pictures = [
        _picture(name) for name in ("score.svg", "difficulty.svg", "length.svg", "domains.svg") if name in shown
    ]
    parts = [
        f"Scores in the splits (0-100): mean {manifest['score_mean']}, deviation {manifest['score_deviation']}.",
        *pictures,
        _counts("domain", manifest["domains"]),
        _counts("difficulty", manifest["difficulties"]),
    ]
    return "## Numbers\n\n" + "\n\n".join(part for part in parts if part)


def _left(manifest: Mapping[str, Any], shown: list[str]) -> str:
    """By stage and source where that is known, else by reason alone."""
    left = manifest.get("left")
    if left is None:
        return _counts("why a row is in no split", manifest["reasons"])
    if not left:
        return ""
    rows = [(row["stage"], row["reason"], row["source"], row["rows"]) for row in left[:MOST_REASONS]]
    more = f"\n\nand {len(left) - MOST_REASONS} more: `left` in `manifest.json`" if len(left) > MOST_REASONS else ""
    pictures = _picture("left.svg") + "\n\n" if "left.svg" in shown else ""
    shown_table = table(("stage", "reason", "source", "rows"), rows)
    return f"## Why rows are in no split\n\nA row may have several reasons.\n\n{pictures}{shown_table}{more}"


def _clusters(manifest: Mapping[str, Any]) -> str:
    """How much of the runs is alike, and what each source keeps."""
    found = manifest.get("clusters")
    if not found:
        return ""
    largest = found["largest"]
    alike = f"{found['clusters']} clusters of near duplicates hold {found['rows']} runs."
    if found["clusters"]:
        alike += (
            f" The largest has {largest['rows']} ({_percent(largest['share'])} of all), {largest['kept']} of them in the"
            f" splits ({_percent(largest['share_kept'])})."
        )
    rows = [(name, one["passed"], one["kept"], _percent(one["share_kept"])) for name, one in found["sources"].items()]
    shown_table = table(("source", "passed the gates", "in a split", "share"), rows[:MOST_REASONS])
    return f"## Clusters and sources\n\n{alike}{_diversity(manifest)}\n\n{shown_table}"


def _diversity(manifest: Mapping[str, Any]) -> str:
    found = manifest.get("diversity")
    if not found:
        return ""
    tasks, strata, deeds = found["tasks"], found["strata"], found["deeds"]
    told = (
        f" {tasks['different']} tasks, as many as {tasks['effective']:.1f} equally frequent ones; the largest has"
        f" {_percent(tasks['largest_share'])} of the rows. {strata['filled']} of {strata['possible']} strata (source, domain,"
        f" task type, difficulty) have a row."
    )
    if deeds["rows"]:
        told += f" {_percent(deeds['different_share'])} of {deeds['rows']} runs made calls that no other run made."
    return told


def _curriculum(manifest: Mapping[str, Any]) -> str:
    made = manifest.get("curriculum") or {}
    if not made.get("stages"):
        return ""
    columns = ("name", "rows", "first", "last", "difficulty_from", "difficulty_to")
    rows = [[stage[name] for name in columns] for stage in made["stages"]]
    return (
        f"## Curriculum\n\nTrain rows from easy to hard, paced by {made['pacing']}; `rank_shuffled` is the control arm."
        f"\n\n{table(('stage', *columns[1:]), rows)}"
    )


def _own(manifest: Mapping[str, Any], shown: list[str]) -> str:
    own = manifest.get("own")
    if not own:
        return ""
    whole = f"{own['rows']} rows of the splits ({_percent(own['share'])}) were done by released models of ours,"
    new = f" {own['new_rows']} of those that this version brought ({_percent(own['new_share'])})."
    table = f"\n\n{_counts('model', own['models'])}" if own["models"] else ""
    picture = f"\n\n{_picture('own.svg')}" if "own.svg" in shown else ""
    return f"## Our own models\n\n{whole}{new}{table}{picture}"


def _warnings(manifest: Mapping[str, Any]) -> str:
    said = [": ".join(str(value) for value in warning.values()) for warning in manifest.get("warnings", ())]
    return "## Warnings\n\n" + "\n".join(f"- {cell(text)}" for text in said) if said else ""


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _picture(name: str) -> str:
    return f"![{_TITLES[name]}](plots/{name})"


def _counts(name: str, counts: Mapping[str, int]) -> str:
    return table((name, "rows"), list(counts.items())) if counts else ""
