"""The systemd example: it is what systemd reads, names every process, and gives no process more than it needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from services.settings import _SECRETS, Settings
from services.supervisor.parts import WORKERS

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = {"alert-sink": "sink"}
COMMANDS = {NAMES.get(name, name): command for name, command, _ in WORKERS}
UNIT = (FOLDER / "stillwatch@.service").read_text(encoding="utf-8")


def settings_of(name: str) -> dict[str, str]:
    lines = (FOLDER / "env" / f"{name}.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line)


def test_each_process_has_its_environment_and_the_target_wants_it() -> None:
    found = {path.stem for path in (FOLDER / "env").glob("*.env")}
    assert found == {*COMMANDS, "common"}
    target = (FOLDER / "stillwatch.target").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"stillwatch@{name}.service" in target
    ports = [settings_of(name)["STILLWATCH_METRICS_PORT"] for name in COMMANDS]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", [*COMMANDS, "common"])
def test_an_environment_has_settings_only_and_no_secret(name: str) -> None:
    given = settings_of(name)
    if name != "common":
        assert ("-m", *given.pop("STILLWATCH_MODULE").split()) == COMMANDS[name]
    for variable in given:
        setting = variable.removeprefix("STILLWATCH_").lower()
        assert setting in Settings.model_fields
        assert setting not in _SECRETS


def test_the_unit_takes_everything_away_that_no_process_needs() -> None:
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict"):
        assert f"\n{line}\n" in UNIT


def test_systemd_reads_it(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze here; what the unit promises was read above")
    unit = tmp_path / "stillwatch@.service"
    unit.write_text(UNIT.replace("/opt/stillwatch/bin/python", "/bin/true"), encoding="utf-8")
    shutil.copy(FOLDER / "stillwatch.target", tmp_path)
    read = subprocess.run(
        [verify, "verify", "--man=no", "--recursive-errors=no", f"{tmp_path}/stillwatch@accounts.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "stillwatch@" not in read.stderr, read.stderr
