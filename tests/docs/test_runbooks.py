"""Every alarm has a runbook under its name, and asks for metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from services.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[2]


def test_every_alarm_has_a_runbook_and_metrics_of_the_table() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/engine.rules.yml").read_text(encoding="utf-8"))
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    known = {metric.name: metric for metric in METRICS}
    names = []
    for rule in rules["groups"][0]["rules"]:
        names.append(rule["alert"])
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        for found in re.findall(r"stillwatch_[a-z_]+", rule["expr"]):
            metric = known.get(found) or known[found.removesuffix("_bucket")]
            assert found == metric.name or metric.kind == "histogram"
    assert len(names) >= 10
    assert re.findall(r"^### (Stillwatch\w+)$", page, re.MULTILINE) == names
