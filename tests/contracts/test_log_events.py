"""Every log line has its event in the table, and the table has no event that no line speaks of."""

from __future__ import annotations

import ast
from pathlib import Path

from services.telemetry.log_events import LOG_EVENTS

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def logged() -> dict[str, str]:
    """Give each event that the code names, and where."""
    found: dict[str, str] = {}
    for package in ("services", "stream_jobs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                    continue
                if node.func.attr not in LEVELS or "log" not in ast.unparse(node.func.value):
                    continue
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path.name}:{node.lineno}: an event is a literal of the table"
                found[str(name.value)] = f"{path.name}:{node.lineno}"
    return found


def test_code_and_table_name_the_same_events() -> None:
    found = logged()
    assert {name: found[name] for name in found.keys() - LOG_EVENTS.keys()} == {}
    assert LOG_EVENTS.keys() - found.keys() == set()


def test_events_are_a_noun_and_what_became_of_it() -> None:
    for name in LOG_EVENTS:
        noun, _, verb = name.partition(".")
        assert noun.isidentifier()
        assert verb.isidentifier()
