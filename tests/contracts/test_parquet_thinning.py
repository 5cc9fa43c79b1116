"""An erasure by columns makes what one of objects makes: the same version, row for row, without a byte of who was erased."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from l07.backends.parquet import (
    Bodies,
    files,
    read_groups,
    read_lineage,
    read_manifest,
    read_members,
    read_parent,
    read_rows,
    verify,
    write_version,
)
from l07.backends.parquet.thinning import beginning, erased_keys
from l07.backends.worker import build_version
from l07.domain.dataset import SPLITS, TABLES
from l07.domain.erasure import Tombstones
from l07.domain.marks import KEY, SOURCE, SUBJECT, Marks
from l07.domain.quality import CurateRules
from l07.errors import StoreFull
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.forgetting import without
from l07.ports import CurateRequest, SealedBatch
from tests.curation import a_batch, a_conversation, a_revision, a_row, a_task_each, a_world, words

MARKS = Marks(b"k" * 32)
RULES = CurateRules(contrast_ratio=0.2, max_per_task=3)
BESIDE = {"files", "segments", "shards", "writes"}  # how a version lies in files is no part of what it says
ANN, BOB = "person-ann-4711", "person-bob-0815"


def stones(**names: Collection[str]) -> Tombstones:
    kinds = {"key": KEY, "subject": SUBJECT, "source": SOURCE}
    return Tombstones(MARKS, {kinds[k]: frozenset(MARKS.of(kinds[k], n) for n in v) for k, v in names.items()}, 1)


def a_house(root: Path, batches: Sequence[SealedBatch], rules: CurateRules = RULES) -> Path:
    """The last of versions that were built one after the other: several segments, several shards a table."""
    parent: Path | None = None
    waiting: list[SealedBatch] = []
    for number, batch in enumerate(batches):
        waiting.append(batch)
        start = read_parent(parent) if parent else None
        draft = build(waiting, rules, parent=start, hold=Bodies(), hashed=lambda name: MARKS.of(SUBJECT, name))
        if isinstance(draft, Draft):
            folder, waiting = root / "built" / f"1.{number}.0", []
            write_version(draft, folder, parent=parent, track="t", rules=rules, batches=["t-1"], golden=None)
            parent = folder
    assert parent is not None
    return parent


def by_objects(folder: Path, erased: Tombstones, output: Path, rules: CurateRules = RULES) -> Path:
    """The judge: everyone becomes an object, and every file is written anew."""
    parent, gone = without(read_parent(folder), erased)
    draft = build([], rules, parent=parent, erased=gone, hold=Bodies())
    assert isinstance(draft, Draft)
    write_version(draft, output / folder.name, parent=folder, track="t", rules=rules, batches=[], golden=None)
    return output / folder.name


def by_columns(folder: Path, erased: Tombstones, output: Path, rules: CurateRules = RULES) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    made = build_version(CurateRequest("t", [], rules, folder, None, output / folder.name, erased=erased))
    assert made.version, made.summary
    return output / folder.name


def said(folder: Path) -> dict[str, Any]:
    """All that a version says, whatever the files in which it lies."""
    parent = read_parent(folder)
    texts = {name: (folder / name).read_text("utf-8") for name in ("README.md",)}
    return {
        "manifest": {name: value for name, value in verify(folder).items() if name not in BESIDE},
        "everyone": dict(parent.members),  # features and sketches too
        "members": {row["key"]: row for row in read_members(folder)},
        "rows": {table: {row["key"]: row for row in read_rows(folder, table)} for table in TABLES},
        "groups": read_groups(folder),
        "lineage": read_lineage(folder),
        "curriculum": pq.read_table(folder / "curriculum.parquet").to_pylist(),
        "plots": {path.name: path.read_text("utf-8") for path in sorted((folder / "plots").iterdir())},
        **texts,
    }


def contents(folder: Path) -> bytes:
    """All bytes, and what stands in the tables; shares no code with the product."""
    found = b""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += path.read_bytes()
            if path.suffix == ".parquet":
                found += json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()
    return found


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


def clusters(folder: Path) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for member in read_parent(folder).members.values():
        if member.cluster:
            found[member.cluster].append(member)
    return found


def largest_cluster(folder: Path) -> list[str]:
    return [member.key for member in max(clusters(folder).values(), key=len)]


def representatives(folder: Path) -> list[str]:
    """Who stayed of clusters of which others left as duplicates."""
    stay = [
        member.key
        for cluster in clusters(folder).values()
        if any("near_duplicate" in member.reasons for member in cluster)
        for member in cluster
        if member.table in SPLITS
    ]
    assert stay
    return stay


def namers(folder: Path) -> list[str]:
    """All runs of a task after which a group of several tasks is called."""
    group = next(group for group in read_groups(folder) if len(group["tasks"]) > 1 and group["id"] in group["tasks"])
    return [m["key"] for m in read_members(folder) if m["task"] == group["id"]]


def most_of_train(folder: Path) -> list[str]:
    """So many that there are too many contrast rows for what is left."""
    return [row["key"] for row in read_rows(folder, "train")][::2]


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
