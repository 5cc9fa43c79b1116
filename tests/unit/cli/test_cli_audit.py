"""`l07 datasets audit` on small worlds: the whole way from events to the page."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from l07.ports import SealedRow
from tests.curation import a_task_each, a_world


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are built in this process: a spawned one takes two seconds to import."""
    from contextlib import asynccontextmanager

    from l07.backends import open as backends
    from l07.backends.worker import InlineCurator

    @asynccontextmanager
    async def curator(settings: object):
        yield InlineCurator()

    monkeypatch.setattr(backends, "open_curator", curator)


def events(rows: Sequence[SealedRow]) -> Iterator[bytes]:
    for row in rows:
        yield row.trace
        if row.evaluation is not None:
            yield row.evaluation


def a_file(name: str, rows: Sequence[SealedRow]) -> str:
    data = b"".join(line + b"\n" for line in events(rows))
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


@pytest.mark.slow
def test_it_plants_builds_and_tells(l07) -> None:
    name = a_file("e.jsonl.gz", a_world(1, tasks=60, runs=150))
    said = l07("datasets", "audit", name, "--plant", "loop=0.1,repeats=0.05,github_token=0.05", "--out", "o", "--json")
    assert said.status == 0, said.err
    report = json.loads(said.out)
    assert report["versions"]
    assert {plant["fault"] for plant in report["planted"]} == {"loop", "exact_repeat", "github_token"}
    assert report["leaks"]["exact_repeats"] == 0
    assert all(pair["both_kept"] == 0 for pair in report["pairs"] if pair["kind"] == "repeats")
    assert report["spills"]["planted"] == 6
    assert json.loads(Path("o/report.json").read_text())["planted"] == report["planted"]
    page = Path("o/report.html").read_text()
    assert page.count("<svg") >= 4
    assert "<script" not in page
    assert '"phase": "curate"' in said.err
    assert not Path(".l07").exists()


def test_nothing_planted_tells_of_clean_data_alone(l07) -> None:
    said = l07("datasets", "audit", a_file("e", a_task_each(30)), "--json")
    report = json.loads(said.out)
    assert (report["rates"], report["planted"], report["faults"], report["left"], report["spills"]) == (
        {},
        [],
        [],
        [],
        {},
    )
    assert report["clean"][0]["passed"] == 30
    text = l07("datasets", "audit", "e").out
    assert "clean runs that pass the gates" in text
    assert "planted faults" not in text


def test_the_halves_share_no_task_and_are_all(l07) -> None:
    name = a_file("e", a_task_each(60))
    runs = [json.loads(l07("datasets", "audit", name, "--half", half, "--json").out) for half in "ab"]
    assert sum(report["sources"][0]["runs"] for report in runs) == 60
    assert all(report["sources"][0]["runs"] for report in runs)


def test_too_few_groups_is_said(l07) -> None:
    said = l07("datasets", "audit", a_file("e", a_task_each(9)))
    assert said.status == 1
    assert "E7101" in said.err
    assert "9 groups" in said.err


def test_input_without_a_run_is_refused_and_what_was_in_it_is_said(l07) -> None:
    Path("e").write_bytes(b"not JSON\n" + a_task_each(1)[0].trace)
    said = l07("datasets", "audit", "e")
    assert said.status == 1
    assert "E7910: e: no run with both a trace and a score; waiting 1, unreadable, E7005 1" in said.err


def test_labels_stand_for_faults_that_were_there_before(l07) -> None:
    name = a_file("e", a_task_each(30))
    Path("truth").write_text('{"execution_id": "e003", "label": "hijack"}\n')
    report = json.loads(l07("datasets", "audit", name, "--truth", "truth", "--json").out)
    (line,) = report["left"]
    assert (line["kind"], line["left"]["count"], line["left"]["n"]) == ("real hijack", 1, 30)
    assert [plant["key"] for plant in report["planted"]] == ["execution:e003"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("e", "--plant", "nose=0.1"), "E7910"),
        (("e", "--plant", "noise=2"), "E7910"),
        (("e", "--truth", "security"), "E7910"),
        (("missing",), "E7900"),
        ((".",), "E7900"),
    ],
)
def test_what_makes_no_sense_is_refused(l07, words, code) -> None:
    a_file("e", a_task_each(12))
    said = l07("datasets", "audit", *words)
    assert said.status == 1
    assert code in said.err


def kept() -> dict[Path, int]:
    """Every file but leftovers of ended processes, which whoever opens the folder removes."""
    files = (path for path in Path("d").rglob("*") if path.is_file() and path.parts[1] != "scratch")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_a_version_of_the_data_folder_is_audited_and_stays_as_it_is(l07) -> None:
    a_file("e", a_task_each(40))
    l07("send", "e", "--data-dir", "d")
    assert l07("run", "--until", "dataset", "--data-dir", "d").status == 0
    before = kept()
    report = json.loads(
        l07("datasets", "audit", "default:1.0.0", "--data-dir", "d", "--plant", "loop=0.2", "--json").out
    )
    assert (report["sources"][0]["runs"], len(report["planted"])) == (40, 8)
    assert kept() == before


def of_two_scores(l07) -> dict[str, tuple[int, int]]:
    """By kind: planted runs that were judged by it, and such as are in a split."""
    name = a_file("e.jsonl", a_world(1, tasks=60, runs=150))
    said = l07("datasets", "audit", name, "--plant", "conflict=0.15,outvoted=0.1", "--out", "o", "--json")
    assert said.status == 0, said.err
    report = json.loads(said.out)
    lines = [line for line in report["faults"] if not line["fault"] and line["source"] == "all"]
    assert sum(report["contradicted"].values()) == len(report["planted"])
    assert "outvoted" in Path("o/report.html").read_text()
    return {line["kind"]: (line["caught"]["count"], line["missed"]["count"]) for line in lines}


@pytest.mark.slow
def test_of_two_scores_before_the_seal_the_surer_one_counts(l07) -> None:
    found = of_two_scores(l07)
    assert found["conflict"][0] > 0
    assert found["conflict"][1] == 0
    assert found["outvoted"][1] > 0
    assert found["outvoted"][0] == 0


@pytest.mark.slow
def test_where_the_less_sure_score_counted_the_audit_would_tell(l07, monkeypatch: pytest.MonkeyPatch) -> None:
    from l07.service import joining

    better = joining._better
    monkeypatch.setattr(joining, "_better", lambda one, other: not better(one, other))
    found = of_two_scores(l07)
    assert found["conflict"][1] > 0
    assert found["outvoted"][1] == 0
