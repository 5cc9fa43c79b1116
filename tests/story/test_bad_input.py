"""Bad input costs nothing else: every case of tests/corpus has its fate, and what is good beside it arrives."""

import asyncio
import base64
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from l07 import telemetry
from l07.cli import main, status
from l07.errors import ChildError
from l07.events.record import Message
from tests.corpus.cases import CODES, FATES, HERE, KINDS, Case, cases, content_of, ident
from tests.corpus.child import Bench, a_trainer
from tests.corpus.folder import Folder, Seen, a_score, a_trace
from tests.corpus.place import damaged, prepared
from tests.unit.events.corpus import record_of

RECORDS = [case for case in cases("record") if case["expect"] == "dead_letter" and "limits" not in case]
EVENTS = cases("events")
SETTINGS = HERE / "events" / "settings.toml"


def test_there_are_at_least_150_bad_inputs_each_with_a_fate_and_a_known_code_or_a_reason() -> None:
    bad = [case for kind in KINDS for case in cases(kind) if case["expect"] != "ok"]
    assert len(bad) >= 150
    assert {case["expect"] for case in bad} == FATES
    for case in bad:
        assert ("code" in case) != ("reason" in case), ident(case)
        assert case.get("code") in CODES | {None}, ident(case)


def test_no_run_stands_in_two_events_cases_because_they_share_a_folder() -> None:
    owners: dict[str, set[str]] = {}
    for case in EVENTS:
        if case["file"] != "lines":  # what is a dead letter has no run
            for line in case["lines"]:
                data = line.get("event", {}).get("data", {})
                owners.setdefault(data.get("execution_id") or data.get("plan_id") or "", set()).add(case["name"])
    owners.pop("", None)  # of steps between the lines
    assert [run for run, names in owners.items() if len(names) > 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_cases_and_no_name_stands_twice(kind: str) -> None:
    names = Counter(map(ident, cases(kind)))
    assert names
    assert max(names.values()) == 1


@pytest.fixture
def l07(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: Any) -> Callable[..., tuple[int, str, str]]:
    """Runs a case's command in its own folder, without settings and log handlers from outside."""
    for name in [name for name in os.environ if name.startswith("L07_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(telemetry.log, "handlers", [])
    monkeypatch.setattr(telemetry.log, "level", telemetry.log.level)
    monkeypatch.setattr(status, "READ_WITHIN_S", 0.3)  # its patience with a run that is starting

    def call(argv: list[str], environ: Mapping[str, str], stdin: Any, stdout: str = "") -> tuple[int, str, str]:
        with ExitStack() as stack, monkeypatch.context() as patch:
            if stdout:
                patch.setattr("sys.stdout", stack.enter_context(Path(stdout).open("w", encoding="utf-8")))
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content_of(stdin)))))
            try:
                ended = main(argv)
            except SystemExit as end:  # argparse's way
                ended = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return ended, out.decode("utf-8", "backslashreplace"), err.decode("utf-8", "backslashreplace")

    return call


# ------------------------------------------------------------------ records and events, through one real folder


class Stage(NamedTuple):
    """The folder that this file shares, and how a test waits for what it does."""

    folder: Folder
    run: Callable[..., Any]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        opened = Folder.open(tmp_path_factory.mktemp("corpus"))
        yield Stage(runner.run(opened.__aenter__()), runner.run)
        runner.run(opened.__aexit__(None, None, None))


@pytest.mark.parametrize("case", EVENTS, ids=map(ident, EVENTS))
def test_events_have_their_fate_and_the_good_run_beside_them_arrives(stage: Stage, case: Case) -> None:
    seen: Seen = stage.run(stage.folder.play(case))
    assert seen.counts == case["counts"]
    assert seen.reasons == case.get("reasons", {})
    assert seen.codes == case.get("codes", [])
    assert seen.filtered == case.get("filtered", {})
    assert seen.beside == ""


@pytest.mark.parametrize("case", EVENTS, ids=map(ident, EVENTS))
def test_what_a_case_counts_shows_the_fate_that_it_names(case: Case) -> None:
    if "code" in case:
        assert (case["expect"], case["codes"], case["counts"].get("dead_letter", 0) > 0) == (
            "dead_letter", [case["code"]] * case["counts"]["dead_letter"], True,
        )  # fmt: skip
    elif case["expect"] != "ok":
        filtered = {reason for reasons in case.get("filtered", {}).values() for reason in reasons}
        assert case["reason"] in {*case.get("reasons", {}), *filtered}
        assert case["counts"].get(case["expect"]) or case["reason"] in filtered


def test_each_bad_record_is_one_dead_letter_with_its_code_and_every_good_run_between_them_arrives(
    stage: Stage, l07: Callable[..., tuple[int, str, str]]
) -> None:
    """All bad records of both content modes, headers and tombstones too, in one stream with a good run behind each."""
    folder, settings = stage.folder, stage.folder.ingest.settings
    stage.run(folder.drain())
    before, _ = stage.run(folder.counted())
    stage.run(folder.letters())  # from here on only ours
    messages = []
    for number, case in enumerate(RECORDS):
        record, at_ms, name = record_of(case), case["timestamp_ms"], f"among-{number}"
        messages.append(Message(settings.topics.traces, b"%d" % number, record.value or b"", record.headers, at_ms))
        for topic, event in ((settings.topics.traces, a_trace(name)), (settings.topics.scores, a_score(name))):
            messages.append(Message(topic, name.encode(), json.dumps(event).encode(), (), at_ms))
    stage.run(folder.ingest.bus.publish(messages))
    stage.run(folder.drain())
    after, _ = stage.run(folder.counted())
    assert after - before == {"consumed": 3 * len(RECORDS), "dead_letter": len(RECORDS), "applied": 2 * len(RECORDS)}
    keys = {base64.b64encode(b"%d" % number).decode(): case["code"] for number, case in enumerate(RECORDS)}
    assert dict(stage.run(folder.letters())) == keys
    listed = l07(["dlq", "list", "--json", "--data-dir", str(settings.data_dir), "--config", str(SETTINGS)], {}, "")[1]
    assert Counter(letter["code"] for letter in json.loads(listed)["dead_letters"]) >= Counter(keys.values())


# ------------------------------------------------------------------ commands

CLI = [
    pytest.param(case, id=ident(case), marks=[pytest.mark.slow] if case.get("slow") else []) for case in cases("cli")
]


@pytest.mark.parametrize("case", CLI)
def test_a_command_that_cannot_be_done_says_its_code_in_one_line(case: Case, l07: Any, tmp_path: Path) -> None:
    with prepared(case, tmp_path):
        for argv in case.get("first", ()):
            done, _, err = l07(argv, {}, "")
            assert done == 0, (argv, err)
        damaged(case.get("then", ()), tmp_path)
        ended, out, err = l07(case["argv"], case.get("env", {}), case.get("stdin", ""), case.get("stdout", ""))
    told = err.splitlines() or [""]
    assert ended == case.get("status", 1), (out, err)
    assert "Traceback" not in err
    if "code" in case:
        assert told[-1].startswith(f"{case['code']}: ")
    for text in case["says"]:
        assert text in out + err


# ------------------------------------------------------------------ children that train and evaluate

NEEDS_TORCH = (
    pytest.mark.training,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: pip install 'l07[train]'"),
)
JOBS = [pytest.param(case, id=ident(case), marks=NEEDS_TORCH if case.get("training") else []) for case in cases("job")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("case", JOBS)
async def test_a_job_that_cannot_be_done_ends_with_its_code_and_leaves_no_output(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    digests = request.getfixturevalue("bench").lend(tmp_path) if case.get("training") else {}
    with prepared(case, tmp_path):
        trainer = a_trainer(case, tmp_path, digests)
        with pytest.raises(ChildError) as caught:
            await trainer.run(tmp_path / "job", timeout_s=case.get("timeout_s", 100))
    assert caught.value.code == case["code"], caught.value.message
    for text in case.get("says", ()):
        assert text in caught.value.message
    assert caught.value.again == case.get("again", False)
    assert not (tmp_path / "job" / "out").exists()
