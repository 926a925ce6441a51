"""Templates are compiled when a page first asks for them; here all of them are, before any page does."""

from __future__ import annotations

import pytest

from services.console import rendering

TEMPLATES = sorted(rendering._environment.list_templates())


def test_there_are_templates() -> None:
    assert {"base.html", "queue.html", "trial_body.html"} <= set(TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_compiles(name: str) -> None:
    assert rendering._environment.get_template(name).name == name
