"""Every threat of docs/security.md names tests that are there, or says that it is accepted."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("<!-- threats -->")[2].partition("<!-- /threats -->")[0].strip().splitlines()
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:50] for row in ROWS])
def test_a_threat_has_a_test_that_is_there_or_is_accepted(row: list[str]) -> None:
    threat, _, proof = row
    found = NAMED.findall(proof)
    assert found or "accepted" in proof, threat
    assert proof.count("tests/") == len(found), "a test is named in another way"
    for path, name in found:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (
            f"{path} has no {name}"
        )


def test_the_threats_that_must_be_there_are() -> None:
    told = " ".join(row[0] for row in ROWS)
    for word in ("thresholds", "poisons baselines", "floods the dead letters", "steals a gateway's", "buys accounts"):
        assert word in told
    for word in ("insider", "database is stolen"):
        assert word in told
