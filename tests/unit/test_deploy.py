"""What lies in deploy/ speaks of metrics, codes and settings that are there."""

import json
import re
from pathlib import Path

from l07 import errors, telemetry
from l07.settings import Settings, leaves

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY.parent / "docker-compose.yml"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text("utf-8")


def exported() -> set[str]:
    """Every series that /metrics can show."""
    out = set()
    for metric in telemetry.CATALOGUE:
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        out |= {metric.name + end for end in ends}
    return out


def named(text: str) -> set[str]:
    return set(re.findall(r"\bl07_[a-z_]+\b", text))


def test_alerts_and_dashboards_ask_for_series_that_are_there() -> None:
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8")
    board = (DEPLOY / "grafana" / "dashboards" / "l07.json").read_text("utf-8")
    queries = [target["expr"] for panel in json.loads(board)["panels"] for target in panel["targets"]]
    assert named(alerts) | named(" ".join(queries)) <= exported()
    assert len(named(" ".join(queries))) > 10


def test_each_alert_has_its_paragraph_in_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    assert len(alerts) > 5
    assert [name for name in alerts if f"**{name}**" not in RUNBOOK] == []


def test_each_code_that_stops_a_deployed_consumer_has_its_row_in_the_runbook() -> None:
    classes = [cls for name in errors.__all__ if isinstance(cls := getattr(errors, name), type)]
    stopping = {
        cls.code
        for cls in classes
        if issubclass(cls, errors.Fatal | errors.Transient) and cls.code[:3] in ("E74", "E78")
    }
    rows = set(re.findall(r"^\| (E7\d{3})", RUNBOOK, re.M))
    embedded = {"E7403", "E7462", "E7463"}  # of the embedded bus and buffer: no server has them
    assert stopping - embedded - rows == set()
    assert rows <= {cls.code for cls in classes if issubclass(cls, errors.L07Error)}


def test_the_runbook_and_compose_file_name_settings_that_are_there() -> None:
    known = {name for name, _, _ in leaves(Settings())}
    said = {
        name
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", RUNBOOK)
        if name.split(".")[0] in Settings.model_fields
    }
    assert said - known == set()
    variables = re.findall(r"\b(L07_[A-Z_]+):", COMPOSE.read_text("utf-8"))
    assert {name.removeprefix("L07_").lower().replace("__", ".") for name in variables} <= known
    assert len(variables) > 4
