"""An erasure by columns makes what one of objects makes: the same version, row for row, without a byte of who was erased."""

import json
import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from l07.backends.parquet import (
    files,
    read_groups,
    read_lineage,
    read_manifest,
    read_members,
    read_parent,
    read_rows,
    state,
    verify,
)
from l07.backends.parquet.thinning import beginning, erased_keys
from l07.backends.worker import build_version
from l07.domain.quality import CurateRules
from l07.errors import StoreFull
from l07.ports import CurateRequest, SealedBatch
from tests.curation import a_batch, a_conversation, a_revision, a_row, a_task_each, a_world, words
from tests.erasing import (
    RULES,
    a_house,
    by_columns,
    by_objects,
    contents,
    largest_cluster,
    most_of_train,
    namers,
    representatives,
    said,
    stones,
)

ANN, BOB = "person-ann-4711", "person-bob-0815"


def a_crowd() -> list[SealedBatch]:
    """A world with near duplicates and equal deeds over tasks; some runs are of two persons, some of another source."""
    rows = a_world(5, tasks=60, runs=200, twins=0.3, paraphrased=0.2)
    rows = [row._replace(trace=_changed(row.trace, n)) if n % 9 in (2, 5) else row for n, row in enumerate(rows)]
    cut = [rows[at : at + 25] for at in range(0, len(rows), 25)]
    revised = [a_revision(row.key.split(":")[1], score=30.0 + n) for n, row in enumerate(rows[:100:13])]
    talk = a_conversation(words(random.Random(1), 12), words(random.Random(2), 60), words(random.Random(3), 60))
    more = [
        *a_task_each(30, prefix="m"),
        *(
            a_row(
                f"d{n}",
                score=80.0 + n,
                messages=[*talk[:-1], {"role": "assistant", "content": f"done {n}"}],
                task_id="d",
            )
            for n in range(4)
        ),
    ]
    return [a_batch(some, number=n + 1) for n, some in enumerate([more, *cut, revised, a_task_each(3, prefix="z")])]


def _changed(trace: bytes, number: int) -> bytes:
    event = json.loads(trace)
    if number % 9 == 2:
        event["data"]["subject_id"] = ANN if number % 2 else BOB
    else:
        event["source"] = "/l02/other-agents"
    return json.dumps(event).encode()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_house(tmp_path_factory.mktemp("crowd"), a_crowd())


Whom = Callable[[Path], Mapping[str, Collection[str]]]
ERASURES: Mapping[str, Whom] = {
    "one run": lambda folder: {"key": [read_rows(folder, "train")[7]["key"]]},
    "one that is in no table": lambda f: {"key": [next(m["key"] for m in read_members(f) if not m["table"])]},
    "one that was scored again": lambda f: {"key": [a_crowd()[-2].rows[2].key]},
    "a person": lambda _: {"subject": [ANN]},
    "a person and a run": lambda f: {"subject": [BOB], "key": [read_rows(f, "test")[0]["key"]]},
    "a source": lambda _: {"source": ["/l02/other-agents"]},
    "all of a cluster": lambda folder: {"key": largest_cluster(folder)},
    "who stayed of duplicates": lambda folder: {"key": representatives(folder)},
    "who gave a group its name": lambda folder: {"key": namers(folder)},
    "half of train, so that contrast rows leave": lambda folder: {"key": most_of_train(folder)},
    "a whole shard and a whole segment": lambda f: {"key": [row.key for row in a_crowd()[-1].rows]},
    "everyone": lambda f: {"key": [m["key"] for m in read_members(f)]},
    "nobody who is there": lambda _: {"key": ["execution:nobody"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ERASURES)
def test_by_columns_is_by_objects(crowd: Path, what: str, tmp_path: Path) -> None:
    erased = stones(**ERASURES[what](crowd))
    judged, made = said(by_objects(crowd, erased, tmp_path / "o")), said(by_columns(crowd, erased, tmp_path / "c"))
    for name, value in judged.items():
        assert made[name] == value, name


@pytest.mark.slow
@pytest.mark.parametrize("what", ERASURES)
def test_no_byte_of_whoever_was_erased_is_left(crowd: Path, what: str, tmp_path: Path) -> None:
    erased = stones(**ERASURES[what](crowd))
    gone = erased_keys(crowd, erased)
    before = contents(crowd)
    assert all(key.encode() in before for key in gone), "the search finds them where they are"
    made = by_columns(crowd, erased, tmp_path)
    after = contents(made)
    assert [key for key in gone if key.encode() in after] == []
    there = {m["key"]: m for m in read_members(crowd)}
    alone = {there[key]["task"] for key in gone} - {m["task"] for key, m in there.items() if key not in gone} - {""}
    assert [task for task in alone if f'"{task}"'.encode() in after] == [], "nor the name of a task that was theirs"
    assert erased_keys(made, erased) == []


@pytest.mark.slow
def test_an_erasure_after_an_erasure_and_what_is_built_on_it_are_those_of_objects(crowd: Path, tmp_path: Path) -> None:
    """Numbers of rows have fallen twice by then, and segments are merged that were written before and after."""
    keys = [row["key"] for row in read_members(crowd)]
    one, two = stones(key=keys[3:90:11]), stones(key=keys[5:200:17])
    later = [a_batch(a_task_each(9, prefix=f"l{n}"), number=50 + n) for n in range(9)]
    twins = a_batch([row._replace(key=f"{row.key}-again") for row in a_world(5, tasks=60, runs=200)[:40]], number=70)
    found = []
    for way, erase in (("o", by_objects), ("c", by_columns)):
        folder = erase(erase(crowd, one, tmp_path / way / "1"), two, tmp_path / way / "2")
        for number, batch in enumerate([*later, twins]):
            request = CurateRequest("t", [batch], RULES, folder, None, tmp_path / way / f"b{number}" / "1.0.0")
            assert build_version(request).version
            folder = request.output
        found.append(said(folder))
    judged, made = found
    assert made["manifest"]["digest"] == judged["manifest"]["digest"]
    assert made["everyone"] == judged["everyone"]
    assert made["rows"] == judged["rows"]
    assert made["groups"] == judged["groups"]


def a_small_house(root: Path) -> Path:
    return a_house(root, [a_batch(a_task_each(20)), a_batch(a_task_each(4, prefix="n"), number=2)], CurateRules())


def test_an_erasure_writes_the_shards_and_segments_that_hold_one_and_links_the_others(tmp_path: Path) -> None:
    folder = a_small_house(tmp_path)
    rows = {row["key"]: row for row in read_members(folder)}
    key = next(key for key in rows if key.startswith("execution:n"))
    made = by_columns(folder, stones(key=[key]), tmp_path / "c", CurateRules())
    assert (folder / "runs/00001.parquet").samefile(made / "runs/00001.parquet")
    assert (folder / "sketches/00001.bin").samefile(made / "sketches/00001.bin")
    assert not (folder / "runs/00002.parquet").samefile(made / "runs/00002.parquet")
    same = [
        shard["file"]
        for shard in read_manifest(made)["shards"]
        if (folder / shard["file"]).samefile(made / shard["file"])
    ]
    table = rows[key]["table"]
    anew = [s["file"] for s in read_manifest(folder)["shards"] if s["table"] == table and 2 in s["writes"]]
    assert {s["file"] for s in read_manifest(folder)["shards"]} - set(same) == set(anew)
    assert verify(folder), "the version before is as it was"


def test_whoever_is_erased_from_the_first_segment_leaves_the_sketches_of_the_others_where_they_are(
    tmp_path: Path,
) -> None:
    folder = a_small_house(tmp_path)
    made = by_columns(folder, stones(key=["execution:e003"]), tmp_path / "c", CurateRules())
    assert [(s["first"], s["rows"], s["shift"]) for s in read_manifest(made)["segments"]] == [(0, 19, 0), (19, 4, 1)]
    assert (folder / "sketches/00002.bin").samefile(made / "sketches/00002.bin")
    before, after = read_parent(folder).members, read_parent(made).members
    assert {key: m.sketch for key, m in after.items()} == {k: m.sketch for k, m in before.items() if k in after}


def test_what_a_build_left_in_memory_for_the_next_one_goes_too(tmp_path: Path) -> None:
    folder = a_small_house(tmp_path)
    assert any("execution:e003" in kept.told.keys.to_pylist() for kept in state._KEPT)
    by_columns(folder, stones(key=["execution:e003"]), tmp_path / "c", CurateRules())
    assert not any("execution:e003" in kept.told.keys.to_pylist() for kept in state._KEPT)


def test_rows_of_a_group_whose_name_goes_say_the_new_one(tmp_path: Path) -> None:
    """The name of a task may tell whose it was."""
    talk = a_conversation("put the red book on the shelf in the hall", "take book", "open door", "lay book on shelf")
    rows = [
        a_row(f"x{n}", messages=[*talk[:-1], {"role": "assistant", "content": f"done {n}"}], task_id=f"task-{n}")
        for n in (1, 2)
    ]
    folder = a_house(
        tmp_path, [a_batch([*a_task_each(20), *rows])], CurateRules(near_duplicates=False, exact_duplicates=False)
    )
    [group] = [group for group in read_groups(folder) if len(group["tasks"]) == 2]
    assert group["id"].endswith("task-1")
    made = by_columns(
        folder, stones(key=["execution:x1"]), tmp_path / "c", CurateRules(near_duplicates=False, exact_duplicates=False)
    )
    assert [g["id"] for g in read_groups(made) if "task-2" in g["id"]] == ["home/task-2"]
    [row] = [m for m in read_members(made) if m["key"] == "execution:x2"]
    assert (row["group"], row["split"]) == ("home/task-2", group["split"])
    [stored] = [r for r in read_rows(made, row["table"]) if r["key"] == "execution:x2"]
    assert stored["group"] == "home/task-2"
    assert b"task-1" not in contents(made)


def test_when_all_are_erased_a_version_of_nobody_is_left_that_can_be_read_and_built_upon(tmp_path: Path) -> None:
    folder = a_small_house(tmp_path)
    made = by_columns(folder, stones(source=["/l02/agents"]), tmp_path / "c", CurateRules())
    assert (read_members(made), read_groups(made), read_lineage(made)) == ([], [], [])
    assert read_manifest(made)["withheld"]
    request = CurateRequest(
        "t", [a_batch(a_task_each(20, prefix="x"), number=9)], CurateRules(), made, None, tmp_path / "n" / "1.9.0"
    )
    assert build_version(request).version
    assert len(read_members(request.output)) == 20


def test_what_an_erasure_needs_beside_the_version_is_gone_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_small_house(tmp_path)
    by_columns(folder, stones(key=["execution:e003"]), tmp_path / "c", CurateRules())
    assert [path.name for path in (tmp_path / "c").iterdir()] == [folder.name]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.pq.ParquetWriter, "write_batch", full)
    with (
        pytest.raises(StoreFull, match="E7400"),
        beginning(folder, erased=stones(key=["execution:e003"]), beside=tmp_path / "d" / "1"),
    ):
        pass
    assert list((tmp_path / "d").iterdir()) == []
