"""What was exported is remembered, and an erasure reaches it: deleted where it lies as it was written, else named."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cli_builders import record_entries

from l07.backends.open import open_ledger
from l07.pipeline.forget.exports import CHANGED, FORBIDDEN, MISSING, Erased, clean_and_tell
from l07.settings import Settings
from tests.versions import a_version

D = Path("d")
AT = "2026-01-05T10:00:00.000Z"


@pytest.fixture
def made(l07, tmp_path_factory) -> str:
    """A data folder with one version; its digest."""
    folder = a_version(tmp_path_factory.mktemp("version"))
    home = D / "datasets" / "default" / "1.0.0"
    home.parent.mkdir(parents=True)
    folder.rename(home)
    digest = json.loads((home / "manifest.json").read_text("utf-8"))["digest"]
    data: dict[str, Any] = {"dataset": "default", "version": "1.0.0", "digest": digest, "uri": "datasets/default/1.0.0"}
    data |= {name: {} for name in ("splits", "domains", "difficulties", "task_types", "dropped")}
    data |= {"added": 20, "removed": 0}
    record_entries(
        D, "datasets", ("dataset.created", "default:1.0.0", {"subject": "datasets/default:1.0.0", "data": data})
    )
    return digest


def export(l07, *words: object, shape: str = "trl") -> None:
    said = l07("datasets", "export", "default:1.0.0", "--for", shape, *words, "--data-dir", D)
    assert said.status == 0, said.err


def revoke(digest: str, version: str = "1.0.0") -> None:
    data = {"dataset": "default", "version": version, "digest": digest, "successor": "1.0.1"}
    record_entries(D, "datasets", ("dataset.revoked", f"default:{version}", {"data": data}))


def erased(since: int = 0) -> list[Erased]:
    exports, datasets = (open_ledger(Settings(data_dir=D), name) for name in ("exports", "datasets"))
    return asyncio.run(clean_and_tell(exports, datasets, since=since, at=AT))


def shown(l07) -> list[dict[str, Any]]:
    said = l07("datasets", "show", "default:1.0.0", "--data-dir", D, "--json")
    return json.loads(said.out)["dataset"].get("exports", [])


def test_what_was_exported_where_is_remembered_and_shown(l07, made) -> None:
    assert shown(l07) == []
    export(l07, "--out", "out")
    export(l07, "--out", "one/train.jsonl", "--split", "train", shape="openai")
    assert [(one["format"], one["path"], one["files"]) for one in shown(l07)] == [
        ("trl", str(Path("out").resolve()), {"as exported": 5}),
        ("openai", str(Path("one/train.jsonl").resolve()), {"as exported": 1}),
    ]
    [listed] = json.loads(l07("datasets", "list", "--data-dir", D, "--json").out)["datasets"]
    assert len(listed["exports"]) == 2
    assert l07("ledger", "verify", "--data-dir", D).status == 0


def test_an_export_of_a_revoked_version_is_deleted_and_said_once(l07, made) -> None:
    export(l07, "--out", "out")
    export(l07, "--out", "one/train.jsonl", "--split", "train")
    export(l07)  # below the data folder
    assert erased() == []
    assert Path("out", "train.jsonl").exists()
    revoke(made)
    found = erased()
    assert [len(one.deleted) for one in found] == [5, 1, 5]
    assert all(not one.left for one in found)
    assert [path for path in (Path("out"), Path("one/train.jsonl"), *D.glob("exports/*")) if path.exists()] == []
    assert erased(since=len(found) + 3) == []
    assert [one["files"] for one in shown(l07)] == [{"erased": 5}, {"erased": 1}, {"erased": 5}]


def test_an_export_of_another_version_stays_though_its_rows_are_the_same(l07, made) -> None:
    export(l07, "--out", "out")
    revoke(made, version="0.9.0")
    assert erased() == []
    assert Path("out", "train.jsonl").exists()


def test_what_is_not_as_it_was_written_is_named_and_not_touched(l07, made) -> None:
    export(l07, "--out", "out")
    out = Path("out").resolve()
    (out / "train.jsonl").write_text("mine now", "utf-8")
    (out / "test.jsonl").rename(out / "kept.jsonl")
    copy = (out / "validation.jsonl").read_bytes()
    (out / "validation.jsonl").rename("elsewhere.jsonl")
    (out / "validation.jsonl").symlink_to(Path("elsewhere.jsonl").resolve())
    revoke(made)
    [one] = erased()
    assert one.left == {
        str(out / "train.jsonl"): CHANGED,
        str(out / "test.jsonl"): MISSING,
        str(out / "validation.jsonl"): CHANGED,
    }
    assert sorted(Path(name).name for name in one.deleted) == ["README.md", "export.json"]
    assert (out / "train.jsonl").read_text("utf-8") == "mine now"
    assert Path("elsewhere.jsonl").read_bytes() == copy
    [again] = erased(since=2)
    assert (again.deleted, again.left) == ((), one.left)


def test_what_may_not_be_deleted_is_named(l07, made, monkeypatch) -> None:
    export(l07, "--out", "out")
    revoke(made)

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "not yours", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", forbidden)
        [one] = erased()
    assert (one.deleted, set(one.left.values())) == ((), {FORBIDDEN})
    assert Path("out", "train.jsonl").exists()


def test_what_another_export_was_written_over_is_that_one_s(l07, made) -> None:
    export(l07, "--out", "out")
    export(l07, "--out", "out", "--force", shape="sharegpt")
    assert [one["format"] for one in shown(l07)] == ["sharegpt"]
    revoke(made)
    [one] = erased()
    assert (one.format, len(one.deleted), one.left) == ("sharegpt", 6, {})


def test_an_export_that_cannot_be_remembered_is_not_made(l07, made) -> None:
    (D / "ledgers" / "exports").write_text("in the way", "utf-8")
    said = l07("datasets", "export", "default:1.0.0", "--for", "trl", "--out", "out", "--data-dir", D)
    assert said.status != 0
    assert not Path("out").exists()


def test_a_version_that_the_data_folder_does_not_know_leaves_no_note(l07, tmp_path_factory) -> None:
    folder = a_version(tmp_path_factory.mktemp("foreign"))
    assert l07("datasets", "export", folder, "--for", "trl", "--out", "out", "--data-dir", D).status == 0
    assert not D.exists()


@pytest.mark.slow
def test_forget_names_what_it_deleted_and_searches_what_it_had_to_leave(l07, made) -> None:
    export(l07, "--out", "out")
    export(l07, "--out", "changed")
    held = [path for path in Path("changed").glob("*.jsonl") if b'"execution:o1-003"' in path.read_bytes()]
    [path] = held
    with path.open("ab") as file:
        file.write(b"{}\n")
    would = json.loads(l07("forget", "--execution", "o1-003", "--dry-run", "--data-dir", D, "--json").out)
    assert would["exports"] == [str(Path(name).resolve()) for name in ("out", "changed")]
    said = json.loads(l07("forget", "--execution", "o1-003", "--data-dir", D, "--json").out)
    assert [(Path(one["path"]).name, len(one["deleted"]), one["left"]) for one in said["exports"]] == [
        ("out", 5, {}),
        ("changed", 4, {str(path.resolve()): CHANGED}),
    ]
    assert [hit["file"] for hit in said["left"]] == [str(path.resolve())]
    assert not Path("out").exists()
    text = l07("forget", "--execution", "o1-003", "--data-dir", D).out
    assert f"export not deleted: trl of default:1.0.0 at {Path('changed').resolve()}" in text
    assert f"{path.resolve()}: {CHANGED}" in text
    path.unlink()
    assert json.loads(l07("forget", "--execution", "o1-003", "--data-dir", D, "--json").out)["left"] == []
