"""Sketches lie in files that are mapped: what was looked at goes, and comes again when it is asked for."""

from pathlib import Path

import numpy as np
import pytest

from l07.backends.parquet.sketches import open_bands, write_bands
from l07.domain.bands import Bands
from l07.domain.scheme import PERMUTATIONS

ROWS = 4000


def resident_kb(path: Path) -> int:
    """Of this file, in this process."""
    lines = Path("/proc/self/smaps").read_text("utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.endswith(str(path))]
    return sum(int(line.split()[1]) for at in starts for line in lines[at : at + 6] if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="asks Linux what is resident")
def test_what_was_looked_at_goes_and_is_the_same_when_it_comes_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    sketches = rng.integers(0, 2**32, (ROWS, PERMUTATIONS), np.uint32)
    whole = Bands.of(np.arange(ROWS, dtype=np.uint32), sketches)
    write_bands([whole], tmp_path / "sketches.bin")
    bands = open_bands(tmp_path / "sketches.bin")
    wanted = [part.tolist() for part in bands.meets(whole)]
    before = resident_kb(tmp_path / "sketches.bin")
    bands.let_go()
    assert resident_kb(tmp_path / "sketches.bin") < before / 10
    assert [part.tolist() for part in bands.meets(whole)] == wanted
    whole.let_go()  # of arrays in memory there is nothing to let go
    assert whole.sketches.tolist() == sketches.tolist()
