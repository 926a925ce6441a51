"""Grafana's own types take the dashboards. Grafana itself cannot be had here: no registry that is reached offers it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dashboards import DASHBOARDS
from tests.deploy.tools import node_packages

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "node")
pytestmark = pytest.mark.timeout(600)


def compile_(documents: dict[str, dict[str, Any]], folder: Path) -> str:
    """Compile the documents as literals of Grafana's types; gives the compiler's complaints."""
    packages = node_packages(*PACKAGES) / "node_modules"
    (folder / "node_modules").symlink_to(packages)
    shutil.copy(Path(__file__).with_name("dashboard_types.ts"), folder)
    for name, document in documents.items():
        head = "import type { OurDashboard } from './dashboard_types';\nexport const it: OurDashboard = "
        text = f"{head}{json.dumps(document)};\n"
        (folder / f"{name}.ts").write_text(text, encoding="utf-8")
    line = [
        "node",
        packages / "typescript/bin/tsc",
        *OPTIONS,
        "--target",
        "es2022",
        *(f"{name}.ts" for name in documents),
    ]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode == 0) == (not done.stdout)
    return done.stdout


def test_the_dashboards_are_what_grafana_calls_dashboards(tmp_path: Path) -> None:
    assert compile_(DASHBOARDS, tmp_path) == ""


def test_a_property_or_a_word_that_grafana_does_not_know_is_found(tmp_path: Path) -> None:
    misspelt, odd = json.loads(json.dumps([DASHBOARDS["traffic"]] * 2))
    misspelt["panels"][0]["gridPosition"] = misspelt["panels"][0]["gridPos"]
    odd["panels"][0]["options"]["tooltip"]["mode"] = "sideways"
    complaints = compile_({"misspelt": misspelt, "odd": odd}, tmp_path)
    assert "gridPosition" in complaints
    assert "odd.ts" in complaints
