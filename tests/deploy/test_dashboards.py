"""Dashboards ask, in words that Prometheus understands, for what the product exports; and Grafana finds them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.telemetry.metrics import METRICS
from tests.deploy.dashboards import DASHBOARDS, QUERIES, Query, without_intervals
from tests.deploy.queries import exported, unknown_metrics
from tests.deploy.tools import prometheus_tool

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
every_query = pytest.mark.parametrize("query", QUERIES, ids=[f"{one.dashboard}-{one.panel}" for one in QUERIES])
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


@every_query
def test_a_query_asks_for_metrics_of_the_table(query: Query) -> None:
    assert unknown_metrics(query.expression) <= {"up"}


@every_query
def test_a_legend_names_labels_that_the_metrics_have(query: Query) -> None:
    labels = {label for name in query.metrics for label in exported().get(name, frozenset({"job", "instance"}))}
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= labels


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    # promtool reads expressions where rules have them.
    rules = [
        {"record": f"dashboard:query:{number}", "expr": without_intervals(query.expression)}
        for number, query in enumerate(QUERIES)
    ]
    path = tmp_path / "queries.rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    line = [prometheus_tool("promtool"), "check", "rules", path]
    checked = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(QUERIES)} rules found" in checked.stdout
    path.write_text(path.read_text(encoding="utf-8").replace("sum by", "sum buy", 1), encoding="utf-8")
    assert subprocess.run(line, capture_output=True, timeout=120, check=False).returncode != 0


def test_what_is_measured_can_be_seen() -> None:
    seen = {metric for query in QUERIES for metric in query.metrics}
    for metric in METRICS:
        names = {name for name in exported() if name.startswith(metric.name)}
        assert names & seen, f"{metric.name} is on no dashboard"


@every_dashboard
def test_a_dashboard_is_whole(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert dashboard["uid"].startswith("stillwatch-")
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        assert panel["description"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_grafana_is_told_where_they_are_and_whom_to_ask() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/stillwatch.yml").read_text("utf-8"))["providers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["grafana"]
    assert source["type"] == "prometheus"
    mounted = dict(volume.split(":")[:2] for volume in compose["volumes"] if volume.startswith("./"))
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert json.loads((GRAFANA / "dashboards/traffic.json").read_text("utf-8"))["schemaVersion"] >= 41
