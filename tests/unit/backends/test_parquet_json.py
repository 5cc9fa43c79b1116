"""A manifest is written as `json` indents it, only faster."""

import json
from pathlib import Path
from typing import Any

import pytest

from l07.backends.parquet.files import write_json

NUMBERS = [1, -1, 2.5e-07, 1e22, -0.0, 1e-6, 0.1, 123456789.125, 2**70, True, None]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"b": [], "a": {}, "c": [{}, [], [[]]]},
        {"numbers": NUMBERS, "pair": (1, 2)},
        {"é": 'ü\n"\\\u2028\x7f/\t', "z": {"": " ", "{": "}, ["}},
        {"deep": {"er": [{"still": [{"deeper": [1, {"x": []}]}]}]}},
    ],
)
def test_the_bytes_are_those_of_json(value: Any, tmp_path: Path) -> None:
    write_json(value, tmp_path / "a.json")
    said = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert (tmp_path / "a.json").read_text("utf-8") == said
