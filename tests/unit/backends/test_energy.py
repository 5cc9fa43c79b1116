"""Joules come from counters or not at all."""

import shutil
import subprocess
from pathlib import Path

import pytest

from l07.backends import energy
from l07.backends.energy import Meter


class Gpus:
    """What NVML's counters say, in joules."""

    def __init__(self, *said: float) -> None:
        self.said = list(said)

    def joules(self) -> float:
        return self.said.pop(0)


def a_counter(root: Path, name: str, kind: str, uj: int, range_uj: int = 999) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    return folder / "energy_uj"


def a_meter(root: Path, gpus: Gpus | None = None) -> Meter:
    return Meter(powercap=root, open_gpus=lambda: gpus)  # type: ignore[arg-type,return-value]


def test_without_a_counter_nothing_is_measured(tmp_path: Path) -> None:
    assert a_meter(tmp_path)() is None
    assert a_meter(tmp_path / "is not there")() is None


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    big = 10**12
    first = a_counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000, big)
    second = a_counter(tmp_path, "intel-rapl:1", "package-1", 0, big)
    core = a_counter(tmp_path, "intel-rapl:0:0", "core", 0, big)
    meter = a_meter(tmp_path)
    assert meter() == 0.0
    first.write_text("7500000")
    second.write_text("1000000")
    core.write_text("900000000")
    assert meter() == pytest.approx(3.5)


def test_a_counter_that_begins_again_is_followed(tmp_path: Path) -> None:
    counter = a_counter(tmp_path, "intel-rapl:0", "package-0", 900)
    meter = a_meter(tmp_path)
    for uj in (100, 950, 150):  # 200, then 850, then 200 further
        counter.write_text(str(uj))
        meter()
    assert meter() == pytest.approx(1250e-6)


def test_what_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    a_counter(tmp_path, "intel-rapl:0", "package-0", 1).write_text("")
    assert a_meter(tmp_path)() is None


def test_gpus_are_counted_from_when_the_meter_was_made(tmp_path: Path) -> None:
    meter = a_meter(tmp_path, Gpus(1000.0, 1002.5))
    assert meter() == pytest.approx(2.5)


def test_nvml_is_called_as_it_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of the same functions, where there is a C compiler: pointers and counters have more than 32 bits."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path / "libnvidia-ml.so.1"
    source = Path(__file__).parent / "nvml_stub.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    monkeypatch.setattr(energy, "NVML", str(library))
    meter = Meter(powercap=tmp_path)
    assert [meter(), meter()] == pytest.approx([2.5, 5.0])


def test_this_machine_gives_a_number_or_says_that_it_has_none() -> None:
    told = Meter()()
    assert told is None or told >= 0.0
