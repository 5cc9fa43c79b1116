"""What is known of exports after some entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l07.domain.exports import ERASED, EXPORTED, fold


@dataclass(frozen=True)
class AnEntry:
    kind: str
    key: str
    body: Mapping[str, Any]
    at: str = "2026-01-02T03:04:05Z"


def exported(key: str, *files: str, version: str = "mine:1.0.0") -> AnEntry:
    data = {"dataset_id": version, "digest": "d", "format": "trl", "output": "out", "path": "/out"}
    return AnEntry(EXPORTED, key, {"data": {**data, "files": {name: f"{key} {name}" for name in files}}})


def erased(key: str, *files: str) -> AnEntry:
    return AnEntry(ERASED, f"{key}/1", {"of": key, "files": list(files)})


def test_what_was_erased_of_an_export_is_counted_and_no_part_of_it_any_more() -> None:
    [one] = fold([exported("a", "/out/1", "/out/2"), erased("a", "/out/1")])
    assert (one.files, one.erased, one.dataset_id) == ({"/out/2": "a /out/2"}, 1, "mine:1.0.0")


def test_what_was_written_over_belongs_to_the_later_one() -> None:
    found = fold([exported("a", "/out/1", "/out/2"), exported("b", "/out/2", "/out/3", version="mine:1.1.0")])
    assert [(one.key, list(one.files)) for one in found] == [("a", ["/out/1"]), ("b", ["/out/2", "/out/3"])]


def test_one_that_was_written_over_whole_is_none_any_more_but_if_something_of_it_was_erased() -> None:
    assert [one.key for one in fold([exported("a", "/out/1"), exported("b", "/out/1")])] == ["b"]
    found = fold([exported("a", "/out/1", "/out/2"), erased("a", "/out/1"), exported("b", "/out/1", "/out/2")])
    assert [(one.key, len(one.files), one.erased) for one in found] == [("a", 0, 1), ("b", 2, 0)]
