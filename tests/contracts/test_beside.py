"""What stands beside a version's tables says what the tables say. The worlds are so regular that doubt would take runs out."""

import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from l07.backends.croissant import COLUMNS, ORDER
from l07.backends.parquet import read_groups, read_manifest, read_members, read_rows, verify
from l07.backends.parquet_rows import read_sides
from l07.domain.dataset import SPLITS
from l07.domain.difference import Side, difference
from l07.domain.reasons import NOTES
from tests.curation import a_conversation, a_row, a_world
from tests.versions import a_version

OURS = "default:0.9.0"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("beside")
    first = a_version(root, *a_world(5, tasks=60, runs=90), doubt=False)
    own = [
        a_row(f"own{n}", messages=a_conversation(f"a task of its own {n}", f"deed {n} of many"), model_version=OURS)
        for n in range(5)
    ]
    return first, a_version(root, *own, parent=first, number=2, others=5, doubt=False)


def learnt(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_members(folder) if row["table"] in SPLITS]


def test_the_curriculum_ranks_every_train_row_once_and_no_other(versions: tuple[Path, Path]) -> None:
    for folder in versions:
        rows = pq.read_table(folder / "curriculum.parquet").to_pylist()
        assert {row["key"] for row in rows} == {row["key"] for row in read_rows(folder, "train")}
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        assert sorted(row["rank_shuffled"] for row in rows) == list(range(len(rows)))
        stages = read_manifest(folder)["curriculum"]["stages"]
        assert {stage["name"]: stage["rows"] for stage in stages} == {
            name: sum(row["stage"] == name for row in rows) for name in ("easy", "medium", "hard")
        }


def test_a_task_that_fails_is_later_than_one_that_does_not(tmp_path: Path) -> None:
    def attempts(task: str, fails: int) -> list[Any]:
        talk = [
            a_conversation(f"task {task} of many words", f"{task} deed {n} is like no other deed") for n in range(6)
        ]
        return [
            a_row(f"{task}{n}", task_id=task, score=10.0 if n < fails else 90.0, messages=t) for n, t in enumerate(talk)
        ]

    rows = [row for n in range(30) for row in attempts(f"t{n:02}", fails=n % 5)]
    folder = a_version(tmp_path, *rows, others=0, doubt=False)
    order = pq.read_table(folder / "curriculum.parquet").to_pylist()
    fails = {f"t{n:02}": n % 5 for n in range(30)}
    found = [fails[row["key"].removeprefix("execution:")[:3]] for row in order]
    third = len(found) // 3
    assert sum(found[:third]) / third < 0.7 < 2.0 < sum(found[-third:]) / third


def test_the_numbers_of_the_plots_are_those_of_the_members(versions: tuple[Path, Path]) -> None:
    for folder in versions:
        manifest, rows = read_manifest(folder), learnt(folder)
        for name in ("score", "difficulty", "length"):
            counted = manifest["histograms"][name]
            assert sum(counted["splits"]) == len(rows)
            assert len(counted["edges"]) == len(counted["splits"]) + 1
        assert sum(manifest["histograms"]["score"]["contrast"]) == manifest["contrast"]
        assert {d: sum(by.values()) for d, by in manifest["domain_splits"].items()} == manifest["domains"]
        by_reason: dict[str, int] = {}
        for row in manifest["left"]:
            by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["rows"]
        assert by_reason == {reason: rows for reason, rows in manifest["reasons"].items() if reason not in NOTES}


def test_the_share_of_our_own_models_is_counted_for_all_and_for_new_rows(versions: tuple[Path, Path]) -> None:
    first, second = (read_manifest(folder)["own"] for folder in versions)
    assert (first["rows"], first["share"], first["models"]) == (0, 0.0, {})
    rows = learnt(versions[1])
    assert sum(row["model_version"] == OURS for row in rows) == second["rows"] == 5
    assert second["share"] == pytest.approx(5 / len(rows), abs=1e-6)
    assert (second["new_rows"], second["new_share"]) == (5, 0.5)
    assert second["models"] == {OURS: 5}
    assert second["trend"] == [{"version": "1.0.0", "share": 0.0}, {"version": "1.1.0", "share": second["share"]}]


def test_each_plot_is_a_picture_that_the_card_shows(versions: tuple[Path, Path]) -> None:
    for folder in versions:
        card = (folder / "README.md").read_text("utf-8")
        pictures = sorted(path.name for path in (folder / "plots").iterdir())
        assert {"difficulty.svg", "domains.svg", "left.svg", "length.svg", "score.svg"} <= set(pictures)
        for name in pictures:
            assert f"(plots/{name})" in card
            assert ET.fromstring((folder / "plots" / name).read_text("utf-8")).tag == "{http://www.w3.org/2000/svg}svg"
    assert "own.svg" in pictures


def test_croissant_names_every_table_s_files_with_their_digests_and_columns(versions: tuple[Path, Path]) -> None:
    for folder in versions:
        said = json.loads((folder / "croissant.json").read_text("utf-8"))
        sets = {one["@id"]: one for one in said["distribution"] if one["@type"] == "cr:FileSet"}
        files = [one for one in said["distribution"] if one["@id"] not in sets]
        for file in files:
            assert file["sha256"] == hashlib.sha256((folder / file["contentUrl"]).read_bytes()).hexdigest()
        records = {record["@id"]: record["field"] for record in said["recordSet"]}
        assert set(records) == {*SPLITS, "contrast", "curriculum"}
        for table, fields in records.items():
            columns = ORDER if table == "curriculum" else COLUMNS
            assert [field["name"] for field in fields] == [name for name, *_ in columns]
            source = fields[0]["source"]
            paths = (
                [source["fileObject"]["@id"]] if "fileObject" in source else sets[source["fileSet"]["@id"]]["includes"]
            )
            found = list(folder.glob(paths)) if isinstance(paths, str) else [folder / path for path in paths]
            rows = sum(pq.read_metadata(path).num_rows for path in found)
            assert rows == len(read_rows(folder, "train" if table == "curriculum" else table))
            assert {field["source"]["extract"]["column"] for field in fields} == set(pq.read_schema(found[0]).names)
    assert sets


def test_all_of_it_is_part_of_the_version_and_guarded_by_its_manifest(versions: tuple[Path, Path]) -> None:
    files = verify(versions[1])["files"]
    assert {"curriculum.parquet", "croissant.json", "plots/score.svg", "README.md"} <= set(files)


def test_the_same_batches_give_the_same_bytes_beside(versions: tuple[Path, Path], tmp_path: Path) -> None:
    again = a_version(tmp_path, *a_world(5, tasks=60, runs=90), doubt=False)
    for name in ("curriculum.parquet", "croissant.json", "README.md", "plots/score.svg", "plots/left.svg"):
        assert (again / name).read_bytes() == (versions[0] / name).read_bytes(), name


def test_a_name_with_markup_in_it_breaks_neither_card_nor_picture(tmp_path: Path) -> None:
    name = "<b>|\x07[x](y)`"
    rows = [a_row(f"r{n}", domain=name, messages=a_conversation(f"goal {n} here", f"deed {n}")) for n in range(12)]
    folder = a_version(tmp_path, *rows, others=0)
    ET.fromstring((folder / "plots" / "domains.svg").read_text("utf-8"))
    assert "| \\<b\\>\\| \\[x\\](y)\\` | 12 |" in (folder / "README.md").read_text("utf-8")


def test_the_card_names_the_licence_of_the_settings(tmp_path: Path) -> None:
    folder = a_version(tmp_path, license="cc-by-4.0")
    assert (folder / "README.md").read_text("utf-8").startswith('---\nlicense: "cc-by-4.0"\n')
    assert json.loads((folder / "croissant.json").read_text("utf-8"))["license"] == "cc-by-4.0"


def test_a_comparison_of_what_differs_says_what_one_of_everything_says(versions: tuple[Path, Path]) -> None:
    def whole(folder: Path) -> Side:
        return Side(read_manifest(folder), read_members(folder), read_groups(folder))

    for old, new in (versions, versions[::-1], (versions[0], versions[0])):
        some = read_sides(old, new)
        assert difference(*some) == difference(whole(old), whole(new))
        assert all(len(list(side.members)) < len(read_members(new)) / 2 for side in some)
