"""The card of a dataset version: README.md with the YAML head that `datasets.load_dataset(dir)` looks for."""

from collections.abc import Mapping
from typing import Any

from l07.domain.dataset import SPLITS

_HEAD = """---
configs:
- config_name: default
  default: true
  data_files:
{splits}
{beside}---
"""
_BESIDE = """- config_name: {table}
  data_files:
  - split: {table}
    path: data/{table}-*.parquet
"""


def card(manifest: Mapping[str, Any]) -> str:
    """Everything that it says stands in the manifest. A table without rows is not offered: `datasets` fails on it."""
    splits = "\n".join(f"  - split: {split}\n    path: data/{split}-*.parquet" for split in SPLITS)
    lines = [
        f"# {manifest['dataset']} {manifest['version']}",
        "",
        f"Agent runs that are good enough to learn from. Digest `{manifest['digest']}`.",
        f"Against {manifest['parent'] or 'nothing'}: {manifest['added']} rows added, {manifest['removed']} removed,"
        f" {manifest['altered']} changed.",
        "",
        "| table | rows | groups |",
        "|---|---|---|",
        *(f"| {split} | {manifest['splits'][split]} | {manifest['groups'][split]} |" for split in SPLITS),
        f"| contrast (rejected; never to imitate) | {manifest['contrast']} | |",
        f"| review (waits for a person) | {manifest['review']} | |",
        "",
        f"Scores in the splits (0-100): mean {manifest['score_mean']}, deviation {manifest['score_deviation']}.",
        "",
        *_counts("domain", manifest["domains"]),
        *_counts("difficulty", manifest["difficulties"]),
        *_counts("why a row is in no split", manifest["reasons"]),
        "Rows of one group (a task, its near duplicates, and tasks whose runs made exactly the same calls) are in one",
        "split, for ever. `messages` and `tools` have the shape of OpenAI chat; arguments are objects under `datasets`, JSON text elsewhere.",
        "Where each row came from: `provenance.parquet`;",
        "why each run is where it is: `members.parquet`; which numbers decided: `manifest.json`.",
        "",
    ]
    beside = "".join(_BESIDE.format(table=table) for table in ("contrast", "review") if manifest[table])
    return _HEAD.format(splits=splits, beside=beside) + "\n".join(lines)


def _counts(name: str, counts: Mapping[str, int]) -> list[str]:
    return (
        [f"| {name} | rows |", "|---|---|", *(f"| {value} | {count} |" for value, count in counts.items()), ""]
        if counts
        else []
    )
