"""A job that distils learns from a registered model; without one it fails and says how to get one; taint passes on to it."""

from pathlib import Path

import pytest

from l07.domain.methods import effective_options
from l07.domain.registry import fold
from l07.pipeline.bases import Base, resolve
from l07.pipeline.train.identity import identify
from tests.unit.pipeline.test_train import RESULT, Bench, a_version

TAUGHT = {**RESULT, "digest": "student-digest", "curves": {}}


async def by(bench: Bench, method: str, version: str, teacher: str = "") -> None:
    """One version trained on by this method."""
    own = bench.settings.tracks["default"].model_copy(update={"method": method, "options": {}, "teacher": teacher})
    bench.settings = bench.settings.model_copy(update={"tracks": {**bench.settings.tracks, "default": own}})
    slots = {name: getattr(bench.desk, name) for name in bench.desk.__slots__}
    bench.desk = type(bench.desk)(**slots | {"settings": bench.settings})
    await bench.created(a_version(version))
    await bench.work()


def failed(bench: Bench) -> tuple[str, str]:
    (data,) = [entry.body["data"] for entry in bench.jobs.lines if entry.kind == "training.failed"]
    return data["code"], data["message"]


async def sealed_teacher(bench: Bench, tmp_path: Path) -> Path:
    """The track's first model, with weights; the folder in which it is published."""
    await by(bench, "sft", "1.0.0")
    return bench.desk.store.path("models/default/1.0.0")


async def test_a_student_is_told_its_teacher_and_its_lineage_names_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RESULT, TAUGHT)
    folder = await sealed_teacher(bench, tmp_path)
    await by(bench, "distill", "2.0.0", "default:1.0.0")
    told = bench.trainer.jobs[-1]["teacher"]
    assert (told["model"], told["folder"]) == ("default:1.0.0", str(folder))
    assert told["base_digest"] == bench.trainer.jobs[-1]["base_digest"]
    student = fold(await bench.registry.entries()).find("default", "2.0.0")
    assert student.lineage["teacher"] == {name: told[name] for name in ("model", "job_id", "digest")}
    assert "default:1.0.0" in student.parents, "along parents goes taint"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "tracks.default.teacher is ''"),
        ("default", "is 'default'"),
        ("default:9.0.0", "cannot be taken: E7210"),
    ],
)
async def test_a_student_without_its_teacher_fails_and_says_how_to_get_one(
    tmp_path: Path, named: str, said: str
) -> None:
    bench = Bench(tmp_path, TAUGHT)
    await by(bench, "distill", "1.0.0", named)
    code, message = failed(bench)
    assert code == "E7736"
    assert said in message
    assert "set tracks.default.teacher" in message
    assert bench.trainer.jobs == []


async def test_a_teacher_whose_files_were_changed_teaches_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RESULT, TAUGHT)
    folder = await sealed_teacher(bench, tmp_path)
    (folder / "adapter_model.safetensors").write_bytes(b"changed")
    await by(bench, "distill", "2.0.0", "default:1.0.0")
    assert failed(bench)[0] == "E7736"
    assert "default:1.0.0 cannot be taken: E722" in failed(bench)[1]


async def test_other_weights_of_a_teacher_make_another_job_and_another_place_does_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path, RESULT, TAUGHT)
    await sealed_teacher(bench, tmp_path)
    await by(bench, "distill", "2.0.0", "default:1.0.0")
    told = bench.trainer.jobs[-1]["teacher"]
    base = Base(resolve("tiny-base", {}), bench.base, told["base_digest"], {})

    def ident(**changes: str) -> str:
        taught_by = {**told, **changes}
        return identify(
            bench.settings, "distill", effective_options("distill", {}), "d", base, taught_by=taught_by
        ).job_id

    assert ident(folder="/elsewhere", model="other:1.0.0") == ident()
    assert len({ident(), ident(digest="0" * 64), ident(base_digest="0" * 64)}) == 3
