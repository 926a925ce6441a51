from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import state
from services.cli import main as cli
from services.errors import StillwatchError

if TYPE_CHECKING:
    from pathlib import Path


def stillwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_help_lists_every_command_without_importing_one() -> None:
    text = (
        "import sys\nfrom services.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'rich', 'confluent_kafka', 'sqlalchemy', 'psycopg', 'msgspec', 'numpy', 'river', 'asyncio'}\n"
        "print('imported', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported []"
    for name, _, _ in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize(("name", "module", "line"), cli.COMMANDS)
def test_the_table_says_what_the_commands_say(name: str, module: str, line: str) -> None:
    command = cli.load(module)[name]
    assert command.help.splitlines()[0] == line
    assert len(line) < 80


@pytest.mark.parametrize("name", [name for name, _, _ in cli.COMMANDS])
def test_every_command_has_help(name: str) -> None:
    done = stillwatch(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_known_error_is_one_line_with_what_to_do_and_its_exit_code(tmp_path: Path) -> None:
    done = stillwatch("status", "--base-dir", str(tmp_path))
    assert done.returncode == 4
    assert done.stderr == f"stillwatch: Stillwatch does not run on {tmp_path}.\nStart it with `stillwatch up`.\n"
    assert "Traceback" in stillwatch("--debug", "status", "--base-dir", str(tmp_path)).stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", bug)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_an_unknown_command_is_wrong_usage() -> None:
    done = stillwatch("statsu")
    assert done.returncode == 2
    assert "statsu" in done.stderr


def test_an_error_reads_as_one_sentence_and_its_hint() -> None:
    assert str(StillwatchError("It broke.", hint="Mend it.")) == "It broke. Mend it."
    assert str(StillwatchError("It broke.")) == "It broke."


def test_reset_needs_a_yes_where_nobody_can_be_asked(tmp_path: Path) -> None:
    base = state.prepare_base(tmp_path / "base")
    state.password(base)
    refused = stillwatch("reset", "--base-dir", str(base))
    assert (refused.returncode, "--yes" in refused.stderr, base.exists()) == (2, True, True)
    done = stillwatch("reset", "--base-dir", str(base), "--yes", "--json")
    assert json.loads(done.stdout) == {"base_dir": str(base), "deleted": ["postgres.password", "lock"]}
    assert not base.exists()
    assert stillwatch("reset", "--base-dir", str(base)).stdout == f"nothing to wipe in {base}\n"


def test_up_is_refused_on_a_directory_in_use(tmp_path: Path) -> None:
    import os

    claim = state.take(tmp_path)
    done = stillwatch("up", "--base-dir", str(tmp_path))
    os.close(claim)
    assert done.returncode == 5
    assert done.stderr.startswith(f"stillwatch: Stillwatch already runs on {tmp_path}.")
