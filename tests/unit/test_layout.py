"""Every module of the product says what it is for, stands in a package, and is no drawer for everything."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = [path for room in ("detection", "schemas", "services", "stream_jobs") for path in (ROOT / room).rglob("*.py")]
DRAWERS = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def test_every_module_stands_in_a_package() -> None:
    assert len(MODULES) > 300
    assert not [path.parent for path in MODULES if not (path.parent / "__init__.py").is_file()]


def test_every_module_says_what_it_is_for() -> None:
    assert not [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


def test_no_module_is_a_drawer_for_everything() -> None:
    assert not [path for path in MODULES if DRAWERS & {path.stem, path.parent.name}]
