import json
from pathlib import Path

import pytest
from cli_builders import record_entries

from l07.errors import DatasetChanged
from tests.curation import a_conversation, a_revision, a_row
from tests.versions import a_version

D = Path("d")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """1.0.0, and 1.1.0 in which a score has changed and a row has left."""
    root = tmp_path_factory.mktemp("versions")
    rows = [a_row(name, messages=a_conversation(f"about {name}", f"{name} alone")) for name in ("better", "worse")]
    first = a_version(root, *rows)
    later = [a_revision("better", score=99.0), a_revision("worse", score=10.0)]
    return first, a_version(root, *later, parent=first, number=2, others=3)


def test_the_counts_are_those_that_the_later_version_says_of_itself(l07, versions) -> None:
    found = json.loads(l07("datasets", "diff", *versions, "--json").out)
    manifest = json.loads((versions[1] / "manifest.json").read_text("utf-8"))
    assert found["rows"] == {name: manifest[name] for name in ("added", "removed", "altered")}
    assert found["to"]["digest"] == manifest["digest"]
    assert (found["level"], found["to"]["version"]) == ("minor", "1.1.0")
    assert {row["key"]: row["reasons"] for row in found["removed"]} == {"execution:worse": ["quality_score"]}
    changed = {row["key"]: row["fields"] for row in found["altered"]}
    assert changed["execution:better"]["quality_score"] == [90.0, 99.0]


def test_a_version_goes_by_its_name_and_a_track_is_its_newest(l07, versions) -> None:
    for folder in versions:
        (D / "datasets" / "default").mkdir(parents=True, exist_ok=True)
        (D / "datasets" / "default" / folder.name).symlink_to(folder)
        data = {"dataset": "default", "version": folder.name, "uri": f"datasets/default/{folder.name}"}
        record_entries(D, "datasets", ("dataset.created", f"default:{folder.name}", {"data": data}))
    said = l07("datasets", "diff", "default:1.0.0", "default", "--data-dir", "d", "--rows", "1")
    assert said.out.startswith("default:1.0.0 -> default:1.1.0: minor\n")
    assert "added: 1 of 3" in said.out


def test_what_is_not_there_is_said_with_what_is(l07, versions) -> None:
    said = l07("datasets", "diff", versions[0], "default:9.9.9")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(
        "E7903: there is no dataset default:9.9.9, nor a folder of one; the newest are: none yet"
    )


def test_a_version_that_was_changed_is_not_compared(l07, versions, tmp_path) -> None:
    copy = tmp_path / "copy"
    for path in versions[0].rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(versions[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / "groups.parquet").write_bytes(b"no")
    said = l07("datasets", "diff", versions[0], copy)
    assert said.status == 1
    assert said.err.startswith(f"{DatasetChanged.code}: ")
    assert "groups.parquet" in said.err
