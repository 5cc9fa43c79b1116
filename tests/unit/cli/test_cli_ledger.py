import json
from pathlib import Path

from cli_builders import a_loop, on_topic, publish

from l07.errors import LedgerDiffers

D = Path("d")


def entry(name: str, number: int) -> Path:
    return D / "ledgers" / name / f"{number:08}.json"


def announced(name: str, number: int, kind: str, **changes: object) -> None:
    """The event of an entry, as it went out."""
    digest = json.loads(entry(name, number).read_text())["hash"]
    publish(D, on_topic("learning.events", {"type": kind, "ledgerseq": number, "ledgerhash": digest} | changes))


def test_ledgers_that_are_as_announced_are_fine(l07) -> None:
    a_loop(D)
    announced("datasets", 1, "dataset.created")
    announced("jobs", 4, "com.example.training.completed")
    announced("registry", 3, "model.stage_changed")
    said = l07("ledger", "verify", "--data-dir", "d", "--json")
    assert said.status == 0
    found = json.loads(said.out)
    assert found["ok"]
    assert [(r["ledger"], r["entries"], r["published"]) for r in found["ledgers"]] == [
        ("datasets", 1, 1),
        ("jobs", 5, 4),
        ("registry", 3, 3),
        ("erasures", 0, 0),
        ("exports", 0, 0),
    ]


def test_no_ledgers_at_all_are_fine_too(l07) -> None:
    assert l07("ledger", "verify", "--data-dir", "d").status == 0
    assert not D.exists()


def test_a_flipped_byte_is_found_and_located(l07) -> None:
    a_loop(D)
    path = entry("jobs", 2)
    path.write_bytes(path.read_bytes().replace(b"job-1", b"job-2", 1))
    said = l07("ledger", "verify", "--data-dir", "d")
    assert said.status == 1
    assert said.err.startswith(f"{LedgerDiffers.code}: ")
    assert "the first is jobs 2" in said.err
    assert "jobs 2: changed" in said.out


def test_a_cut_tail_is_found_because_its_number_was_published(l07) -> None:
    a_loop(D)
    announced("registry", 3, "model.stage_changed")
    entry("registry", 3).unlink()
    said = l07("ledger", "verify", "--data-dir", "d", "--json")
    assert said.status == 1
    (finding,) = json.loads(said.out)["ledgers"][2]["findings"]
    assert (finding["number"], finding["what"]) == (3, "cut")


def test_a_chain_that_was_written_anew_differs_from_what_was_published(l07) -> None:
    a_loop(D)
    announced("datasets", 1, "dataset.created", ledgerhash="0" * 64)
    said = l07("ledger", "verify", "--data-dir", "d", "--json")
    assert said.status == 1
    assert json.loads(said.out)["ledgers"][0]["findings"][0]["number"] == 1


def test_events_of_strangers_do_not_disturb(l07) -> None:
    a_loop(D)
    for event in (
        {"type": 5},
        {"type": "batch.sealed"},
        {"type": "model.x", "ledgerseq": "many", "ledgerhash": "x"},
        [],
    ):
        publish(D, on_topic("learning.events", event))
    assert l07("ledger", "verify", "--data-dir", "d").status == 0
