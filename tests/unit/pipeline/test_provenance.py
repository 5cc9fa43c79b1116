"""Licence and chat template of a base, as its own files say."""

import hashlib
import json
from pathlib import Path

import pytest

from l07.domain import model_card
from l07.pipeline.provenance import Provenance, provenance


@pytest.mark.parametrize(
    ("files", "license", "said_by"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# x"}, "apache-2.0", "README.md"),
        ({"README.md": '---\ntags: []\nlicense: "mit"\n---'}, "mit", "README.md"),
        ({"README.md": "---\nlicense: other\nlicense_name: house\n---\n"}, "other (house)", "README.md"),
        ({"README.md": "---\nlicense: other\nlicense_link: LICENSE\n---\n"}, "other (LICENSE)", "README.md"),
        ({"README.md": "# x\nlicense: mit\n"}, "unknown", ""),
        ({"README.md": "---\ntags: [x]\n---\nlicense: mit\n"}, "unknown", ""),
        ({"base.json": '{"licence": "Apache-2.0"}', "LICENSE": "x"}, "apache-2.0", "base.json"),
        ({"config.json": '{"license": "MIT"}'}, "mit", "config.json"),
        ({"config.json": '{"license": 3}', "LICENSE.txt": "\n  The House Licence \n..."}, "other (The House Licence)", "LICENSE.txt"),
        ({"config.json": "no json", "LICENSE": " \n"}, "unknown", ""),
        ({}, "unknown", ""),
    ],
)  # fmt: skip
def test_the_licence_is_what_its_files_say(tmp_path: Path, files: dict[str, str], license: str, said_by: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    found = provenance(tmp_path)
    assert (found.license, found.license_from) == (license, said_by)


def test_the_template_is_known_by_its_text_wherever_it_stands(tmp_path: Path) -> None:
    assert provenance(tmp_path).chat_template is None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "a"}), "utf-8")
    assert provenance(tmp_path).chat_template == hashlib.sha256(b"a").hexdigest()
    (tmp_path / "chat_template.jinja").write_text("b", "utf-8")
    assert provenance(tmp_path).chat_template == hashlib.sha256(b"b").hexdigest(), "that is what transformers reads"


@pytest.mark.parametrize(
    ("said", "head", "line"),
    [
        ("apache-2.0", "license: apache-2.0\n", "apache-2.0, as its README.md says"),
        ("other (The \"House\" Licence)", 'license: other\nlicense_name: "The \\"House\\" Licence"\n', "The \"House\" Licence"),
        ("unknown", "license: unknown\n", "unknown: its files name none"),
    ],
)  # fmt: skip
def test_a_card_says_the_licence_or_that_nobody_does(said: str, head: str, line: str) -> None:
    lineage = {"dataset_version": "1.0.0", **Provenance(said, "README.md", None).document()}
    text = model_card.card(model_card.Facts("m", "1.0.0", "base", lineage, {}, format=model_card.ADAPTER), {})
    assert head in text
    assert line in text
    assert "| chat template, sha256 | none |" in text
