"""The documentation's tables are those of the code, its links lead somewhere, its claims name what exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.cli.forget import LEFT
from services.cli.topics import DIFFERENT
from services.errors import AlreadyRunningError, NotRunningError, StillwatchError

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
every_paper = pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@every_paper
def test_every_table_is_the_codes(paper: Path, generate: ModuleType) -> None:
    text = paper.read_text(encoding="utf-8")
    assert generate.render(text) == text, "run `make docs` and commit the difference"


def test_every_table_that_is_made_is_shown(generate: ModuleType) -> None:
    shown = {name for paper in PAPERS for name in re.findall(r"<!-- table: ([a-z-]+) -->", paper.read_text("utf-8"))}
    assert shown == set(generate.TABLES)


def test_every_picture_is_that_of_the_committed_result(generate: ModuleType) -> None:
    if not generate.EVALUATION.is_file():
        assert not [name for name in generate.PICTURES if (ROOT / "docs" / name).exists()], "a picture of no result"
        return
    result = generate.evaluation.read_result(generate.EVALUATION)
    for name, draw in generate.PICTURES.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == draw(result), "run `make docs`"


def test_a_drifted_table_is_seen(generate: ModuleType) -> None:
    page = "<!-- table: metrics -->\n| old |\n<!-- end -->\nafter\n"
    rendered = generate.render(page)
    assert "stillwatch_build_info" in rendered
    assert "| old |" not in rendered
    assert rendered.endswith("<!-- end -->\nafter\n")
    with pytest.raises(KeyError):
        generate.render("<!-- table: nobody-makes-this -->\n<!-- end -->")


@every_paper
def test_every_link_to_a_file_leads_somewhere(paper: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)\s#]+)", paper.read_text(encoding="utf-8")):
        assert (paper.parent / target).exists(), target


def headings(paper: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    prose = re.sub(r"^```.*?^```", "", paper.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    }


@every_paper
def test_every_link_to_a_heading_leads_to_one(paper: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)\s#]*)#([^)\s]+)\)", paper.read_text(encoding="utf-8")):
        page = paper.parent / target if target else paper
        assert page.suffix != ".md" or anchor in headings(page), f"{target}#{anchor}"


def test_the_exit_codes_are_told() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    used = {StillwatchError.exit_code, NotRunningError.exit_code, AlreadyRunningError.exit_code, DIFFERENT, LEFT}
    assert used <= told


def test_decisions_are_numbered_without_gaps_and_have_every_part() -> None:
    papers = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(paper.name[:4]) for paper in papers]
    assert numbers == list(range(1, len(papers) + 1))
    for paper in papers:
        text = paper.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(paper.name[:4])}. "), paper.name
        for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{paper.name} has no {part}"
        assert len(text.splitlines()) <= 60, f"{paper.name} is longer than a page"


def test_every_make_target_that_a_paper_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for paper in PAPERS:
        for name in re.findall(r"`make ([a-z]+)", paper.read_text(encoding="utf-8")):
            assert name in targets, f"{paper.name}: make {name}"
