"""Prometheus' own tool judges the rules, their tests and the configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import prometheus_tool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> Path:
    return prometheus_tool("promtool")


def run(tool: Path, *arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_rules_are_rules(promtool: Path) -> None:
    checked = run(promtool, "check", "rules", *sorted(path.name for path in FOLDER.glob("*.rules.yml")))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alarm_sounds_and_is_silent_where_its_test_says(promtool: Path) -> None:
    tested = run(promtool, "test", "rules", *sorted(path.name for path in FOLDER.glob("*.test.yml")))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_is_wrong_fails_its_test(promtool: Path, tmp_path: Path) -> None:
    for path in FOLDER.glob("engine.*.yml"):
        text = path.read_text(encoding="utf-8").replace(
            "stillwatch_loop_age_seconds > 60", "stillwatch_loop_age_seconds > 7000"
        )
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    tested = run(promtool, "test", "rules", "engine.test.yml", folder=tmp_path)
    assert tested.returncode != 0
    assert "StillwatchLoopStuck" in tested.stdout + tested.stderr


def test_the_configuration_is_one_and_scrapes_every_process(promtool: Path) -> None:
    checked = run(promtool, "check", "config", "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    ours = next(job for job in jobs if job["job_name"] == "stillwatch")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    processes = {
        name
        for name, service in services.items()
        if service["image"].startswith("stillwatch:") and service["restart"] != "no"
    }
    assert {target.partition(":")[0] for target in ours["static_configs"][0]["targets"]} == processes
    assert ours["honor_labels"] is True
