import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_builders import an_event, lines

from l07.errors import BadSetting, UnknownSetting

HEAVY = (
    "pydantic",
    "msgspec",
    "rich",
    "redis",
    "sqlite3",
    "numpy",
    "pyarrow",
    "torch",
    "asyncio",
    "l07.settings",
)


@pytest.mark.parametrize(
    "argv", [["nope"], ["run", "--until-idle", "--until", "dataset"], ["dlq"], ["dlq", "retry"], ["send"], []]
)
def test_wrong_usage_exits_2(l07, argv) -> None:
    said = l07(*argv)
    assert (said.status, said.out) == (2, "")
    assert "usage: l07" in said.err


def test_version_is_the_installed_one(l07) -> None:
    said = l07("--version")
    assert (said.status, said.out) == (0, "l07 0.1.0\n")


@pytest.mark.parametrize("argv", [("--data-dir", "x", "config", "show"), ("config", "show", "--data-dir", "x")])
def test_common_options_stand_before_or_after_the_command(l07, argv) -> None:
    said = l07(*argv, "--json")
    assert next(s for s in json.loads(said.out)["settings"] if s["name"] == "data_dir")["value"] == "x"


def test_an_error_is_one_line_with_its_code_on_stderr(l07, monkeypatch) -> None:
    monkeypatch.setenv("L07_SEAL", "5")
    said = l07("status")
    assert (said.status, said.out) == (1, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"{UnknownSetting.code}: ")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, l07.cli.console; from l07.cli.parser import build_parser as b; b(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("command", ["status", "dlq list", "events", "ledger verify", "models list", "config check"])
def test_reading_an_empty_place_prints_nothing_wrong_and_leaves_nothing_behind(l07, command, tmp_path) -> None:
    said = l07(*command.split(), "--data-dir", "nothing")
    assert (said.status, said.err) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("__import__('os').geteuid() == 0", reason="root writes everywhere")
def test_a_data_folder_that_cannot_be_written_is_a_coded_error(l07, tmp_path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    (tmp_path / "e").write_bytes(lines(an_event()))
    assert l07("send", "e", "--data-dir", "shut/d").err.startswith("E7402")


def test_a_data_folder_that_is_a_file_is_a_coded_error(l07, tmp_path) -> None:
    (tmp_path / "e").write_bytes(lines(an_event()))
    said = l07("send", "e", "--data-dir", "e")
    assert said.status == 1
    assert said.err.startswith("E7402")
    assert "e: " not in l07("config", "check", "--data-dir", "d").out
    assert l07("config", "check", "--data-dir", "e").status == 1


def test_config_show_says_where_each_value_came_from(l07, monkeypatch) -> None:
    Path("l07.toml").write_text(
        'seed = 3\n[tracks.default.seal]\ncount = 30\n[models.aliases]\n"gpt-4" = "tiny-base"\n'
    )
    monkeypatch.setenv("L07_SEED", "4")
    found = {s["name"]: s for s in json.loads(l07("config", "show", "--data-dir", "x", "--json").out)["settings"]}
    assert (found["seed"]["value"], found["seed"]["origin"]) == (4, "env:L07_SEED")
    assert (found["tracks.default.seal.count"]["value"], found["tracks.default.seal.count"]["origin"]) == (
        30,
        "file:l07.toml",
    )
    assert (found["models.aliases"]["value"], found["models.aliases"]["origin"]) == (
        {"gpt-4": "tiny-base"},
        "file:l07.toml",
    )
    assert found["data_dir"]["origin"] == "argument"
    assert found["filter.quality_threshold"]["origin"] == "default"


def test_config_check_tries_what_the_settings_name(l07, monkeypatch) -> None:
    assert l07("config", "check").status == 0
    monkeypatch.setenv("L07_TRACKS__DEFAULT__GOLDEN", "nowhere.jsonl")
    monkeypatch.setenv("L07_BUS__URL", "kafka://x")
    said = l07("config", "check", "--json")
    assert said.status == 1
    assert len(json.loads(said.out)["problems"]) == 2


def test_a_settings_file_that_is_not_there_is_a_coded_error(l07) -> None:
    assert l07("config", "check", "--config", "no.toml").err.startswith(BadSetting.code)
