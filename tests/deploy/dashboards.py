"""The dashboards under deploy/grafana and the questions in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.queries import metrics_of

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}


@dataclass(frozen=True)
class Query:
    """One expression of one panel."""

    dashboard: str
    panel: str
    expression: str
    legend: str

    @property
    def metrics(self) -> set[str]:
        """Name what it asks for."""
        return metrics_of(self.expression)


QUERIES = [
    Query(name, panel["title"], target["expr"], target["legendFormat"])
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]


def without_intervals(expression: str, seconds: str = "1m") -> str:
    """Put an interval where Grafana does."""
    return expression.replace("$__rate_interval", seconds)
