"""Every command in the documentation is one that exists, with options that exist.

``stillwatch`` is read by its own parser, ``make`` plans its target, Python's modules and files are there. What cannot
run here stands in ``NOT_RUN`` with the reason and who looks after it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import click
import pytest
import typer

from services.cli import main as cli
from services.gateway.configuration import GATEWAY_SETTINGS
from services.settings import Settings
from tests.docs.commands import PAPERS, ROOT, Command, commands_of, every_command

if TYPE_CHECKING:
    from pathlib import Path

NOT_RUN: Final = {
    "docker": "no Docker engine here; tests/acceptance/test_compose.py reads the compose file as compose does",
    "helm": "no cluster here; tests/deploy/test_helm.py renders the chart",
    "systemctl": "no systemd here; tests/deploy/test_systemd.py checks the units",
    "install": "writes to the system; tests/deploy/test_systemd.py checks the files that it names",
    "pip": "installs from a registry; CI installs from the lock",
    "uv": "builds a second environment from a registry; the target test-gateways runs it",
    "litellm": "a server of others in an environment of its own; the target test-gateways runs it",
    "vllm": "needs a model and a graphics card",
    "curl": "a client of the intake, whose routes tests/unit/gateway/test_intake.py asks",
}
# Variables of others that the documentation sets.
FOREIGN: Final = frozenset(("VIRTUAL_ENV",))
KNOWN: Final = frozenset(
    [f"STILLWATCH_{name.upper()}" for name in Settings.model_fields] + [name for name, _, _ in GATEWAY_SETTINGS]
)
COMMANDS: Final = every_command()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path))
    return tmp_path


def parse(command: Any, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Read words as the command line does, down to the last sub-command, without doing anything."""
    if not words and isinstance(command, click.Group | typer.core.TyperGroup):
        return
    with command.make_context(name, list(words), parent=parent) as context:
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        found, inner, left = command.resolve_command(context, rest)
        parse(inner, found or "", left, context)


def complaint(command: Command) -> str:
    """Say what the command line's own parser has against a command; "" for nothing."""
    words = ["--help" if word == "-h" else word for word in command.words[1:]]
    if words[-1:] == ["--help"]:
        words.pop()
        if not words:
            return ""
        lenient = True
    else:
        lenient = command.where == "inline"  # In a sentence a command is named, often without what it needs.
    try:
        parse(typer.main.get_command(cli.app), "stillwatch", words)
    except Exception as error:  # noqa: BLE001 - Typer brings a click of its own, with errors of its own
        kind = type(error).__name__
        if kind == "MissingParameter" and lenient:
            return ""
        return f"{kind}: {getattr(error, 'message', error)}"
    return ""


def unknown_settings(settings: tuple[str, ...]) -> list[str]:
    names = [setting.partition("=")[0] for setting in settings]
    return [
        name
        for name in names
        if name not in FOREIGN and not name.startswith("OTEL_") and name.removesuffix("_FILE") not in KNOWN
    ]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_the_product_is_one_as_its_own_parser_reads_it(paper: Path, here: Path) -> None:
    for command in commands_of(paper):
        if command.program != "stillwatch":
            continue
        for word in command.words[1:]:
            if word == "FILE" or re.fullmatch(r"[a-z]+\.jsonl?", word):
                (here / word).touch()
        assert not complaint(command), command


def test_every_variable_that_is_set_is_one_of_a_table() -> None:
    for command in COMMANDS:
        settings = command.words[1:] if command.program == "export" else command.settings
        assert not unknown_settings(tuple(settings)), command


@pytest.mark.parametrize(
    "words", sorted({command.words[1:] for command in COMMANDS if command.program == "make"}), ids=" ".join
)
def test_every_target_can_be_planned(words: tuple[str, ...]) -> None:
    wanted = [re.sub("=n$", "=1", word) for word in words]
    done = subprocess.run(
        ["make", "-n", *wanted, *(["help"] if not words else [])], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_module_and_script_that_python_is_given_exists() -> None:
    seen = 0
    for command in COMMANDS:
        if not command.program.startswith("python"):
            continue
        seen += 1
        if command.words[1] == "-m":
            assert command.words[2] == "venv" or importlib.util.find_spec(command.words[2]), command
        else:
            path = ROOT / command.words[1]
            script = path / "__main__.py" if path.is_dir() else path
            assert script.is_file(), command
            text = "".join(each.read_text(encoding="utf-8") for each in script.parent.glob("*.py"))
            for option in (word for word in command.words[2:] if word.startswith("--")):
                assert f'"{option}"' in text, command
    assert seen > 5


def test_what_is_not_run_says_why_and_nothing_else_is_left_out() -> None:
    left = {
        command.program: str(command)
        for command in COMMANDS
        if command.program not in {"stillwatch", "make", "export"} and not command.program.startswith("python")
    }
    assert {program: left[program] for program in left.keys() - NOT_RUN.keys()} == {}
    assert NOT_RUN.keys() - left.keys() == set(), "a reason without a command"
    for reason in NOT_RUN.values():
        for named in re.findall(r"tests/[\w/]+\.py", reason):
            assert (ROOT / named).is_file(), named
        for target in re.findall(r"the target ([\w-]+)", reason):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stillwatch alerts lists", "UsageError"),
        ("stillwatch alerts list --state", "BadOptionUsage"),
        ("stillwatch decisions approve", "MissingParameter"),
        ("stillwatch topics apply --partitions 3", "NoSuchOption"),
        ("stillwatch entitlements add X --until tomorrow --reference y --actor z", "BadParameter"),
        ("stillwatch no-such-command", "UsageError"),
    ],
)
def test_a_command_that_is_none_is_seen(line: str, words: str) -> None:
    assert words in complaint(Command("x.md", "block", tuple(line.split())))


def test_a_paper_is_read_in_all_its_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    paper = tmp_path / "page.md"
    paper.write_text(
        "Say `stillwatch\nup --simulate demo`, or `make a`, `stillwatch keys status | retire`,\n"
        "not `stillwatch/decision/v1`.\n\n"
        "```console\n$ A=1 stillwatch status  # why\nanswer\n$ make b && stillwatch config\n```\n"
        "```bash\nstillwatch replay FILE \\\n  --format jsonl\n```\n```text\nhelm lint\nother\n```\n\n"
        "    make c    # so\n"
        "    { json }\n",
        encoding="utf-8",
    )
    found = [(command.where, " ".join(command.words), command.settings) for command in commands_of(paper)]
    assert found == [
        ("block", "stillwatch status", ("A=1",)),
        ("block", "make b", ()),
        ("block", "stillwatch config", ()),
        ("block", "stillwatch replay FILE --format jsonl", ()),
        ("block", "helm lint", ()),
        ("block", "make c", ()),
        ("inline", "stillwatch up --simulate demo", ()),
        ("inline", "make a", ()),
        ("inline", "stillwatch keys status", ()),
        ("inline", "stillwatch keys retire", ()),
    ]


def test_what_the_detection_page_says_of_recipes_is_what_was_measured() -> None:
    page = (ROOT / "docs/detection.md").read_text(encoding="utf-8")
    table = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    found = {
        name: (int(hit), int(runs))
        for name, hit, runs in re.findall(r"^\| ([a-z-]+)(?: \(held out\))? \| (\d+) of (\d+) \|", table, re.MULTILINE)
    }
    assert set(found) >= {recipe["recipe"] for recipe in _recipes()}
    caught, missed = page.split("## What it does not catch")
    missed = missed.partition("## Whom it accuses")[0]
    named = [name for name in re.findall(r"`([a-z-]+)`", caught) if name in found]
    assert len(named) > 12
    assert {name: found[name] for name in named if 5 * found[name][0] < 4 * found[name][1]} == {}
    lost = [name for name in re.findall(r"`([a-z-]+)`", missed) if name in found]
    assert {name: found[name] for name in lost if found[name][0]} == {}
    # Nothing that is found in no run is left out of the page.
    assert {name for name, (hit, _) in found.items() if not hit} == set(lost)


def _recipes() -> list[Any]:
    told = json.loads((ROOT / "docs/evaluation.json").read_text(encoding="utf-8"))
    rows: list[Any] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if "recipe" in value and isinstance(value["recipe"], str):
                rows.append(value)
            for each in value.values():
                collect(each)
        elif isinstance(value, list):
            for each in value:
                collect(each)

    collect(told)
    return rows
