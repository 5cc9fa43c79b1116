"""Every command, every option and every setting is documented, and the documentation names none that is not there."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from l07.cli.docs import PAGE, settings_page
from l07.cli.parser import build_parser
from l07.settings import Settings, leaves

DOCS = Path(__file__).parents[3] / "docs"
COMMON = {"-h", "--help", "--data-dir", "--config", "--bus", "--buffer", "--json"}


def commands(
    parser: argparse.ArgumentParser | None = None, path: str = "l07"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be called, with its full name."""
    parser = parser or build_parser()
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, parser
    for group in groups:
        for name, below in group.choices.items():
            yield from commands(below, f"{path} {name}")


def sections() -> dict[str, str]:
    """docs/commands.md by command: the words of a heading that are no argument."""
    found = {}
    for heading, text in re.findall(
        r"^## `(l07 [^`]+)`\n(.*?)(?=^## |\Z)", (DOCS / "commands.md").read_text("utf-8"), re.M | re.S
    ):
        name = " ".join(word for word in heading.split() if word.islower() or word == "l07")
        found[name] = heading + text
    return found


def test_every_command_has_its_section_and_no_section_is_about_nothing() -> None:
    assert sorted(sections()) == sorted(name for name, _ in commands())


@pytest.mark.parametrize(("name", "parser"), list(commands()), ids=[name for name, _ in commands()])
def test_every_option_stands_in_its_command_s_section(name, parser) -> None:
    text = sections()[name]
    missing = [
        option
        for action in parser._actions
        for option in action.option_strings
        if option not in COMMON and option not in text
    ]
    assert missing == []


def test_no_section_names_an_option_that_is_not_there() -> None:
    known = {name: {o for action in parser._actions for o in action.option_strings} for name, parser in commands()}
    everywhere = set().union(*known.values())
    strange = {
        name: set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - everywhere for name, text in sections().items()
    }
    assert {name: options for name, options in strange.items() if options} == {}


def test_every_command_takes_the_common_options() -> None:
    for name, parser in commands():
        options = {option for action in parser._actions for option in action.option_strings}
        assert options >= COMMON, name  # the demo's --json takes a file


def test_the_common_options_are_explained_once() -> None:
    head = (DOCS / "commands.md").read_text("utf-8").partition("\n## ")[0]
    assert [option for option in [*COMMON, "--version"] if option not in head] == []


def test_every_option_and_argument_says_what_it_is() -> None:
    for name, parser in commands():
        assert [action.dest for action in parser._actions if not action.help] == [], name


def test_the_table_of_settings_is_generated_and_current() -> None:
    assert PAGE.read_text("utf-8") == settings_page(), "run `python -m l07.cli.docs`"


def test_every_setting_has_a_row_and_a_description() -> None:
    page = settings_page()
    for name, _, description in leaves(Settings()):
        shown = name.replace("tracks.default.", "tracks.<track>.")
        assert f"| `{shown}` |" in page
        assert description, name
