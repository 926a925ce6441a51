"""Rules of the code base that no linter knows: sizes, cycles, documented settings, reasons beside exemptions."""

from __future__ import annotations

import re
import tokenize
from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from services.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("detection", "schemas", "services", "stream_jobs")
LONGEST = 400
NO_SUCH_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
EXEMPTION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover)(?P<rest>.*)")


def python_files() -> list[Path]:
    rooms = [*PACKAGES, "migrations", "tests"]
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


every_file = pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


@every_file
def test_no_module_is_longer_than_a_reader_can_hold(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, "split it by noun"


@every_file
def test_every_exemption_names_its_rule_and_its_reason(path: Path) -> None:
    with tokenize.open(path) as source:
        comments = [token for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.COMMENT]
    for token in comments:
        for found in EXEMPTION.finditer(token.string):
            kind, rest = found[1], found["rest"]
            where = f"{path.name}:{token.start[0]}: {token.string}"
            if kind == "noqa":
                assert re.match(r":\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*\b", rest), f"no rule named: {where}"
                assert re.search(r"[A-Z]\d+\s*(-|#|—)\s*\w", rest), f"no reason given: {where}"
            elif kind.startswith("type"):
                assert re.match(r"\[[a-z-]+(,\s*[a-z-]+)*\]", rest), f"no code named: {where}"
                assert re.search(r"\]\s*(-|#|—)\s*\w", rest), f"no reason given: {where}"
            else:
                assert re.search(r"(-|#|—)\s*\w", rest), f"no reason given: {where}"


@every_file
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    assert path.stem not in NO_SUCH_NAMES


def test_the_import_graph_has_no_cycle() -> None:
    imports = graph()
    modules = sorted(imports.modules)
    state: dict[str, str] = {}
    trail: list[str] = []

    def visit(module: str) -> None:
        state[module] = "open"
        trail.append(module)
        for other in sorted(imports.find_modules_directly_imported_by(module)):
            if state.get(other) == "open":
                pytest.fail(" -> ".join([*trail[trail.index(other) :], other]))
            if other not in state:
                visit(other)
        trail.pop()
        state[module] = "closed"

    assert len(modules) > len(PACKAGES)
    for module in modules:
        if module not in state:
            visit(module)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description, f"{name} has no description"
    assert len(description) > 15
    assert description.endswith("."), f"{name}: a sentence, with a full stop"


def test_the_hooks_before_a_commit_run_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == commands


def test_every_target_of_make_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets == explained
    assert phony
    assert set(phony[1].split()) == targets


def test_no_lock_and_no_paper_names_a_package_host() -> None:
    host = re.compile(r"https?://[^\s\"')>]*(pypi|pythonhosted|/simple\b|proxy\.golang|registry)[^\s\"')>]*")
    for name in ("requirements.lock", "deploy/requirements.lock", "deploy/build.lock", "pyproject.toml", "Makefile"):
        assert not host.search((ROOT / name).read_text(encoding="utf-8")), name
