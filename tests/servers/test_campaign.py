"""The short fault campaign on real servers, and controls: a product without a safeguard must be found out."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign.__main__ import SHORT
from tests.campaign.campaign import run, table
from tests.campaign.controls import control_choices, found_out
from tests.campaign.ports import kafka_home


@pytest.fixture(autouse=True)
def servers() -> None:
    """The campaign starts and hurts its own."""
    if kafka_home() is None:
        why = "the campaign hurts processes of its own: it needs KAFKA_HOME"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")


@pytest.mark.timeout(420)
def test_nothing_is_lost_and_nothing_is_doubled_under_fire(tmp_path: Path) -> None:
    report = run(SHORT, tmp_path, tell)
    tell(table(report))
    assert report.red == []
    assert report.judgement.numbers["runs joined"] > 3000
    assert len(report.faults) == len(SHORT.kinds)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("control", ["no-barrier", "no-dedup"])
def test_a_product_without_this_safeguard_is_found_out(control: str, tmp_path: Path) -> None:
    choices = replace(control_choices(control), minutes=0.4, events=2500, patience=0.2)
    assert found_out(run(choices, tmp_path, tell).red)
