"""Every metric is documented, and the documentation names none that is not there."""

import re

from l07.cli.metrics import PAGE, metrics_page
from l07.telemetry import CATALOGUE


def test_the_page_of_metrics_is_current() -> None:
    assert PAGE.read_text("utf-8") == metrics_page(), "run python -m l07.cli.metrics"


def test_each_metric_has_a_row() -> None:
    rows = re.findall(r"^\| `(l07_[a-z_]+)` \|", PAGE.read_text("utf-8"), flags=re.M)
    assert rows == [metric.name for metric in CATALOGUE]
