"""The short form of the row of `make chaos` that no other test plays: faults of Postgres."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(2400)]
ROOT = Path(__file__).parents[2]


def test_faults_of_postgres_lose_and_double_nothing(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "tests.chaos", "--short", "--rows", "6", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["number"] for row in rows] == [6]
    assert [row["name"] for row in rows if not row["passed"]] == [], done.stderr[-6000:]
    assert done.returncode == 0
    assert all((row["lost"], row["duplicated"]) == (0, 0) and row["trials"] for row in rows)
