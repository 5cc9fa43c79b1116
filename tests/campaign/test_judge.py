"""The judge is independent, sees every kind of fault, and finds none where there is none."""

import ast
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from l07.backends.redis.buffer import script
from tests.campaign.broken import SCRIPTS, changed_script
from tests.campaign.controls import CONTROLS, found_out
from tests.campaign.faults import KINDS, schedule
from tests.campaign.judge import Expected, Fold, Judgement, Seen, compare
from tests.campaign.poison import VALUES, poison
from tests.campaign.reading import Place, Raw
from tests.campaign.redis_server import last_barrier
from tests.campaign.rules import Poisoned, read
from tests.campaign.world import TRACKS, Plan, Send, World

HERE = Path(__file__).parent
THE_JUDGES = (
    "judge",
    "rules",
    "reading",
    "datasets",
    "outgoing",
    "world",
    "poison",
    "producing",
    "redis_server",
    "kafka",
)


@pytest.mark.parametrize("name", THE_JUDGES)
def test_the_judge_and_its_world_share_no_code_with_the_product(name: str) -> None:
    tree = ast.parse((HERE / f"{name}.py").read_text("utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [found for found in names if found.split(".")[0] in ("l07", "consumers")]
    ours = {found.rpartition(".")[2] for found in names if found.startswith("tests.")}
    assert ours <= {*THE_JUDGES, "ports", "processes"}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_script_has_what_a_control_changes(name: str) -> None:
    assert (changed_script(name) != script()) == (name in SCRIPTS)


def test_a_control_whose_members_end_by_an_error_of_its_own_finds_nothing_out() -> None:
    assert found_out(["runs doubled: 3"])
    assert not found_out(["runs lost: 136", "errors that nobody caught: 138, such as ingest-1: AssertionError"])
    assert not found_out([])


def raws(sends: list[Send]) -> list[Raw]:
    """As if Kafka had taken them, one partition a topic."""
    at: Counter[str] = Counter()
    out = []
    for send in sends:
        out.append(Raw(Place(send.role, 0, at[send.role]), send.value, list(send.headers)))
        at[send.role] += 1
    return out


def folded(seed: int = 3, events: int = 1500) -> Expected:
    fold = Fold(TRACKS)
    for raw in raws(list(World(Plan(seed, events, real=False)).sends())):
        fold.add(raw)
    return fold.expected()


@pytest.fixture(scope="module")
def expected() -> Expected:
    return folded()


def perfect(expected: Expected) -> list[Seen]:
    """What a product without faults would have published: one batch a track."""
    out = []
    for track in TRACKS:
        keys = tuple(sorted(key for key, run in expected.joined.items() if run.track == track))
        out.append(Seen(f"id-{track}", f"{track}-1", track, keys, len(keys), 0))
    return out


def counted(expected: Expected) -> dict[tuple[str, int], Counter[str]]:
    out = {}
    for where, total in expected.records.items():
        counts = expected.counts[where]
        out[where] = Counter(
            {name: n for name, n in counts.items() if name != "used"}, applied=counts["used"], consumed=total
        )
    return out


def judged(expected: Expected, **instead: object) -> Judgement:
    seen = {"seals": perfect(expected), "letters": sorted(expected.letters), "counts": counted(expected)} | instead
    return compare(expected, **seen)  # type: ignore[arg-type]


def test_a_product_without_faults_is_green(expected: Expected) -> None:
    assert len(expected.joined) > 400
    assert len(expected.letters) > 10
    assert expected.waiting
    assert judged(expected).faults == []


def broken_seals(expected: Expected, what: str) -> list[Seen]:
    seals = perfect(expected)
    last = seals[-1]
    if what == "runs lost":
        seals[-1] = replace(last, keys=last.keys[1:], decided=last.decided - 1)
    elif what == "runs doubled":
        seals.append(Seen("id-x", f"{last.track}-2", last.track, last.keys[:1], 1, 0))
    elif what == "runs out of nowhere":
        seals[-1] = replace(last, keys=(*last.keys, "execution:ghost"), decided=last.decided + 1)
    elif what == "runs of another track":
        seals[-1] = replace(last, track="gold")
    else:
        seals.append(Seen("id-x", f"{last.track}-3", last.track, (), 0, 0))
    return seals


@pytest.mark.parametrize(
    "what", ["runs lost", "runs doubled", "runs out of nowhere", "runs of another track", "batches out of order"]
)
def test_the_judge_sees_what_is_wrong_with_batches(expected: Expected, what: str) -> None:
    assert any(fault.startswith(what) for fault in judged(expected, seals=broken_seals(expected, what)).faults)


def test_a_run_may_come_again_in_the_epoch_after_a_rollback(expected: Expected) -> None:
    seals = perfect(expected)
    again = [replace(seal, ident=f"{seal.ident}-again", epoch=1) for seal in seals]
    assert judged(expected, seals=[*seals, *again]).faults == []


def test_the_judge_sees_a_dead_letter_too_few_and_one_too_many(expected: Expected) -> None:
    letters = sorted(expected.letters)
    assert judged(expected, letters=letters[1:]).numbers["dead letters lost"] == 1
    assert judged(expected, letters=[*letters, Place("traces", 0, 10**9)]).numbers["dead letters of sound records"] == 1


@pytest.mark.parametrize("name", ["consumed", "applied", "waiting", "expired", "dead_letter", "rejected"])
def test_the_judge_sees_a_counter_that_is_off_by_one(expected: Expected, name: str) -> None:
    counts = counted(expected)
    counts[("scores", 0)][name] += 1
    assert judged(expected, counts=counts).numbers["conservation broken"] > 0


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_every_poison_is_poison_to_the_judge(number: int) -> None:
    with pytest.raises(Poisoned):
        read(Raw(Place("scores", 0, 0), VALUES[number], []))


def test_what_the_world_means_to_be_sound_is_sound() -> None:
    for send in World(Plan(5, 800, real=False, poison_every=10**9)).sends():
        read(Raw(Place(send.role, 0, 0), send.value, list(send.headers)))


def test_an_id_that_looks_like_an_infinite_number_is_sound() -> None:
    said = {"specversion": "1.0", "id": "ev-1e999", "source": "/s", "type": "evaluation.completed"}
    data = {"execution_id": "NaN-Infinity-\\u", "quality_score": 9e1, "confidence": 1}
    assert read(Raw(Place("scores", 0, 0), json.dumps(said | {"data": data}).encode(), [])).score == 90.0


def test_poison_is_never_sound() -> None:
    rng = random.Random(1)
    for _ in range(500):
        _, value, headers = poison(rng)
        with pytest.raises(Poisoned):
            read(Raw(Place("scores", 0, 0), value, list(headers)))


def test_a_seed_gives_the_same_world_and_the_same_schedule() -> None:
    first, second = (list(World(Plan(9, 300, real=False)).sends()) for _ in range(2))
    assert first == second
    assert schedule(9, 60) == schedule(9, 60) != schedule(10, 60)
    assert set(schedule(9, 60)) == set(KINDS)


def test_the_fold_does_not_depend_on_how_topics_are_interleaved() -> None:
    records = raws(list(World(Plan(4, 600, real=False)).sends()))
    folds = []
    for order in (records, sorted(records, key=lambda raw: raw.place)):
        fold = Fold(TRACKS)
        for raw in order:
            fold.add(raw)
        folds.append(fold.expected())
    assert folds[0] == folds[1]


def test_the_file_is_never_cut_before_the_last_barrier(tmp_path: Path) -> None:
    file = tmp_path / "aof"
    barrier = b"*3\r\n$3\r\nSET\r\n$21\r\n{l07:default:0}:barrier\r\n$1\r\n1\r\n"
    file.write_bytes(b"before" + barrier + b"between" + barrier + b"after")
    assert last_barrier(file) == file.stat().st_size - len(b"after")
    file.write_bytes(b"nothing was ever promised")
    assert last_barrier(file) == 0


def test_a_second_score_may_be_a_revision_but_no_more_than_that() -> None:
    def event(kind: str, ident: str, **data: object) -> bytes:
        said = {"specversion": "1.0", "id": ident, "source": "/runtime", "type": kind}
        return json.dumps(said | {"data": {"execution_id": "r", **data}}).encode()

    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    fold = Fold(TRACKS)
    values = [
        event("execution.completed", "1", domain="rest", messages=talk),
        *(
            event("evaluation.completed", str(c), quality_score=90, confidence=c, evaluation_id=str(c))
            for c in (0.7, 0.9)
        ),
    ]
    for offset, value in enumerate(values):
        fold.add(Raw(Place("traces", 0, offset), value, []))
    expected = fold.expected()
    batches = [Seen("a", "rest-1", "rest", ("execution:r",), 1, 0), Seen("b", "rest-2", "rest", ("execution:r",), 0, 0)]
    assert judged(expected, seals=batches).faults == []
    third = Seen("c", "rest-3", "rest", ("execution:r",), 0, 0)
    assert "runs doubled" in " ".join(judged(expected, seals=[*batches, third]).faults)
