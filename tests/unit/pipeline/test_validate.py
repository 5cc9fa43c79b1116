import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from l07.backends.store import FolderLedger, FolderStore
from l07.domain.measurements import Measurements
from l07.domain.registry import Stage, fold
from l07.domain.verdict import STAGES
from l07.errors import ChildKilled, ChildOutOfMemory, FileChanged, L07Error
from l07.events import outbound
from l07.pipeline import release
from l07.pipeline.validate import validate_model
from l07.ports import Progress
from l07.settings import Settings, Track
from tests.measured import canaries, measured, rows_of

AT = "2026-01-12T09:00:00Z"


@dataclass
class Child:
    """ports.Trainer that records what it is told to record."""

    answer: Measurements | bytes | L07Error = field(default_factory=measured)
    jobs: list[Mapping[str, Any]] = field(default_factory=list)

    async def run(
        self, job_dir: Path, *, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> Mapping[str, Any]:
        self.jobs.append(json.loads((job_dir / "job.json").read_text("utf-8")))
        if isinstance(self.answer, L07Error):
            raise self.answer
        out = Path(self.jobs[-1]["output"])
        out.mkdir(parents=True, exist_ok=True)
        text = self.answer if isinstance(self.answer, bytes) else msgspec.json.encode(self.answer)
        (out / "measurements.json").write_bytes(text)
        (job_dir / "result.json").write_text('{"status": "completed"}', "utf-8")
        return {"status": "completed"}


@dataclass
class House:
    """A data folder with one trained model in the registry."""

    root: Path
    settings: Settings = field(default_factory=Settings)
    child: Child = field(default_factory=Child)

    def __post_init__(self) -> None:
        self.store = FolderStore(self.root)
        self.registry = FolderLedger(self.root / "ledgers", "registry")
        self.key_file = self.root / "keys" / "registry.pem"
        self.base = self.root / "bases" / "tiny"
        self.base.mkdir(parents=True)
        (self.base / "config.json").write_text("{}")

    async def register(
        self, job_id: str = "job-1", *, planted: int = 8, labels: tuple[str, ...] = ()
    ) -> outbound.ModelRegistered:
        artifact = self.root / "jobs" / job_id / "out"
        artifact.mkdir(parents=True)
        (artifact / "adapter_model.safetensors").write_bytes(job_id.encode())
        (artifact.parent / "result.json").write_text(json.dumps({"status": "completed", "rows": {"canaries": planted}}))
        lineage = {
            "job_id": job_id, "track": "default", "dataset": "datasets/default/1.0.0", "dataset_version": "1.0.0",
            "dataset_digest": "d" * 64, "base_model": "tiny-policy", "base_digest": "b" * 64,
            "base_folder": str(self.base), "seed": 7, "canaries": {"n": 8, "seed": 7},
        }  # fmt: skip
        entry = await release.register(
            name="default", artifact=artifact, lineage=lineage, rank=16, base_model="tiny-policy", causationid="c",
            correlationid="cycle-1", registry=self.registry, store=self.store, key_file=self.key_file, at=AT,
        )  # fmt: skip
        event = outbound.from_entry(entry)
        assert isinstance(event, outbound.ModelRegistered)
        return event

    async def validate(self, cause: outbound.ModelRegistered, now: Callable[[], str] | None = None) -> None:
        await validate_model(
            cause, registry=self.registry, store=self.store, trainer=self.child, settings=self.settings,
            key_file=self.key_file, now=now,
        )  # fmt: skip

    async def released(self) -> None:
        """What the release consumer does with the verdicts that are there."""
        for entry in await self.registry.entries():
            event = outbound.from_entry(entry)
            if isinstance(event, outbound.ModelValidated):
                await release.on_model_validated(
                    event, registry=self.registry, store=self.store, key_file=self.key_file
                )

    async def kinds(self) -> list[str]:
        return [entry.kind for entry in await self.registry.entries()]

    async def verdict(self, key: str = "default:1.0.0") -> Mapping[str, Any]:
        entry = await self.registry.find("model.validated", key)
        assert entry is not None
        return entry.body["data"]  # type: ignore[no-any-return]

    def report(self, version: str = "1.0.0") -> Path:
        return self.root / "reports" / "default" / version


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_a_better_model_is_validated_reported_and_moved_to_staging(house: House):
    cause = await house.register()
    await house.validate(cause)
    assert await house.kinds() == ["model.registered", "model.validated"]
    await house.released()
    assert await house.kinds() == ["model.registered", "model.validated", "model.stage_changed"]
    data = await house.verdict()
    assert data["verdict"] == "DEPLOY"
    assert [stage["stage"] for stage in data["stages"]] == list(STAGES)
    assert fold(await house.registry.entries()).find("default", "1.0.0").stage is Stage.STAGING


async def test_the_entry_becomes_an_event_that_names_its_cause(house: House):
    cause = await house.register()
    await house.validate(cause)
    event = outbound.from_entry((await house.registry.entries())[1])
    assert isinstance(event, outbound.ModelValidated)
    assert (event.causationid, event.correlationid, event.subject) == (cause.id, "cycle-1", "models/default:1.0.0")
    assert event.data.report == "reports/default/1.0.0"
    assert event.data.seconds == 0


async def test_a_repeat_measures_and_decides_nothing_again(house: House):
    cause = await house.register()
    await house.validate(cause)
    before = await house.registry.entries()
    house.settings = Settings(seed=8)  # another evaluation, if there were one
    await house.validate(cause)
    assert await house.registry.entries() == before
    assert len(house.child.jobs) == 1


async def test_cut_off_after_the_child_the_next_try_uses_what_it_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    cause = await house.register()

    async def cut(*_: object) -> str:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "publish", cut)
        with pytest.raises(asyncio.CancelledError):
            await house.validate(cause)
    assert await house.kinds() == ["model.registered"]
    await house.validate(cause)
    assert len(house.child.jobs) == 1
    assert (await house.verdict())["verdict"] == "DEPLOY"


@pytest.mark.parametrize(
    ("changes", "verdict"), [({"canaries": None}, "REVIEW"), ({"canaries": canaries(known=True)}, "REJECT")]
)
async def test_without_deploy_the_model_stays_in_development(house: House, changes: dict[str, Any], verdict: str):
    house.child.answer = measured(**changes)
    await house.validate(await house.register())
    await house.released()
    assert (await house.verdict())["verdict"] == verdict
    assert await house.kinds() == ["model.registered", "model.validated"]


async def test_a_version_that_a_person_archived_is_not_brought_back_by_a_repeat(house: House):
    cause = await house.register()
    await house.validate(cause)
    await release.move(
        name="default", version="1.0.0", to=Stage.ARCHIVED, by="ada", reason="replaced", registry=house.registry,
        store=house.store, key_file=house.key_file, at=AT,
    )  # fmt: skip
    await house.validate(cause)
    await house.released()
    assert fold(await house.registry.entries()).find("default", "1.0.0").stage is Stage.ARCHIVED


async def test_a_changed_artifact_is_never_loaded(house: House):
    cause = await house.register()
    path = house.root / "models" / "default" / "1.0.0" / "adapter_model.safetensors"
    path.chmod(0o600)
    path.write_bytes(b"job-2")
    with pytest.raises(FileChanged):
        await house.validate(cause)
    assert house.child.jobs == []
    assert await house.kinds() == ["model.registered"]


async def test_without_a_released_version_the_base_is_the_baseline(house: House):
    await house.validate(await house.register())
    assert house.child.jobs[0]["baseline"] == {"base": str(house.base), "adapter": None}
    assert (await house.verdict())["baseline"] == "the base model tiny-policy"


@pytest.mark.parametrize(("rule", "adapter"), [("released", "models/default/1.0.0"), ("base", None)])
async def test_the_released_version_is_the_baseline_unless_the_track_says_base(
    house: House, rule: Any, adapter: str | None
):
    house.settings = Settings(tracks={"default": Track(baseline=rule)})
    await house.register()
    data = {
        "model": "default",
        "version": "1.0.0",
        "from": "STAGING",
        "to": "PRODUCTION",
        "by": "ada",
        "reason": "test",
    }
    body = {"subject": "models/default:1.0.0", "data": data}
    await house.registry.append("model.stage_changed", "default:1.0.0#1", body, at=AT)
    await house.validate(await house.register("job-2"))
    assert house.child.jobs[0]["baseline"]["adapter"] == (str(house.root / adapter) if adapter else None)
    assert ("released" in (await house.verdict("default:2.0.0"))["baseline"]) == (rule == "released")


@pytest.mark.parametrize(("planted", "asked"), [(8, {"n": 8, "seed": 7, "lookalikes": 1024}), (0, None), (5, None)])
async def test_only_canaries_that_were_planted_are_asked_for(house: House, planted: int, asked: Any):
    await house.validate(await house.register(planted=planted))
    assert house.child.jobs[0]["canaries"] == asked


async def test_the_golden_set_is_named_and_hashed_in_the_report(house: House, tmp_path: Path):
    golden = tmp_path / "golden.jsonl"
    golden.write_text("{}\n")
    house.settings = Settings(tracks={"default": Track(golden=str(golden))})
    await house.validate(await house.register())
    report = json.loads((house.report() / "report.json").read_text("utf-8"))
    assert house.child.jobs[0]["golden"] == str(golden)
    assert report["golden_sha256"] == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


async def test_a_golden_set_that_is_not_there_is_review(house: House, tmp_path: Path):
    house.settings = Settings(tracks={"default": Track(golden=str(tmp_path / "absent.jsonl"))})
    house.child.answer = measured(rows=tuple(rows_of(120, 0.9, 0.5)), golden=False)
    await house.validate(await house.register())
    assert house.child.jobs[0]["golden"] is None
    assert (await house.verdict())["verdict"] == "REVIEW"
    assert (await house.verdict())["needed_n"] == 122


async def test_a_child_that_failed_is_a_review_that_names_the_code(house: House):
    house.child.answer = ChildOutOfMemory("too large")
    await house.validate(await house.register())
    data = await house.verdict()
    assert data["verdict"] == "REVIEW"
    assert all("E7701" in reason for reason in data["reasons"])


async def test_a_killed_child_is_tried_again_and_leaves_no_verdict(house: House):
    house.child.answer = ChildKilled("signal 9")
    with pytest.raises(ChildKilled):
        await house.validate(await house.register())
    assert await house.kinds() == ["model.registered"]


@pytest.mark.parametrize("record", [b"{", b'{"rows": 3}', b'{"version": 2}'])
async def test_measurements_that_cannot_be_read_are_review(house: House, record: bytes):
    house.child.answer = record
    await house.validate(await house.register())
    assert (await house.verdict())["verdict"] == "REVIEW"


async def test_a_base_that_is_gone_is_review_and_starts_no_child(house: House):
    cause = await house.register()
    (house.base / "config.json").unlink()
    await house.validate(cause)
    assert (await house.verdict())["verdict"] == "REVIEW"
    assert house.child.jobs == []


async def test_the_page_shows_every_check_and_loads_nothing(house: House):
    await house.validate(await house.register())
    page = (house.report() / "report.html").read_text("utf-8")
    for words in (
        "DEPLOY",
        "domain travel",
        "p95 seconds a token",
        "memorised canaries",
        "<svg",
        "the base model tiny-policy",
    ):
        assert words in page
    assert "http" not in page
    assert "<script" not in page


async def test_the_verdict_can_be_computed_again_from_the_report(house: House):
    await house.validate(await house.register())
    record = (house.report() / "measurements.json").read_bytes()
    assert msgspec.json.decode(record, type=Measurements) == house.child.answer


async def test_the_clock_is_the_callers(house: House):
    await house.validate(await house.register(), now=lambda: "2026-01-12T10:00:00Z")
    await house.released()
    assert [entry.at for entry in await house.registry.entries()][1:] == ["2026-01-12T10:00:00Z"] * 2


async def test_the_training_s_curves_stand_in_the_report_as_data_and_on_its_page(house: House):
    cause = await house.register()
    job = house.root / "jobs" / "job-1"
    (job / "curve.json").write_text('{"names": ["loss"], "points": []}')
    (job / "loss.svg").write_text("<svg>falls</svg>")
    await house.validate(cause)
    assert (house.report() / "curve.json").read_text() == (job / "curve.json").read_text()
    page = (house.report() / "report.html").read_text("utf-8")
    assert "Training, as it went" in page
    assert base64.b64encode(b"<svg>falls</svg>").decode() in page
    assert "<svg>falls" not in page, "a picture's style would reach the page"


async def test_a_training_without_curves_leaves_no_empty_part(house: House):
    await house.validate(await house.register())
    assert "Training, as it went" not in (house.report() / "report.html").read_text("utf-8")
