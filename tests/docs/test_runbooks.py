"""Every alarm has a runbook under its name, asks for metrics that exist, and is tested both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import unknown_metrics

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy/prometheus").glob("*.rules.yml"))
RULES: dict[str, list[dict[str, Any]]] = {
    path.name: [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    for path in FILES
}
EVERY = [rule for rules in RULES.values() for rule in rules]


@pytest.mark.parametrize("rule", EVERY, ids=[rule["alert"] for rule in EVERY])
def test_every_alarm_has_metrics_of_the_table_and_says_where_its_runbook_is(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert unknown_metrics(rule["expr"]) <= {"up"}


def test_the_page_has_a_runbook_for_each_alarm_in_their_order_and_no_other() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (Stillwatch\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in EVERY]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_alarm_is_tested_where_it_sounds_and_where_it_is_silent(path: Path) -> None:
    tests = yaml.safe_load(path.with_name(path.name.replace(".rules.", ".test.")).read_text(encoding="utf-8"))["tests"]
    told: dict[str, set[bool]] = {}
    for test in tests:
        for asked in test["alert_rule_test"]:
            told.setdefault(asked["alertname"], set()).add(bool(asked["exp_alerts"]))
    assert told == {rule["alert"]: {True, False} for rule in RULES[path.name]}
