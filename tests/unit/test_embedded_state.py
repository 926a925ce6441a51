from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import processes, state
from services.errors import AlreadyRunningError, NotRunningError, StillwatchError

if TYPE_CHECKING:
    from pathlib import Path

TAKE = """
import pathlib, sys
from services.adapters.embedded import state
from services.errors import AlreadyRunningError
try:
    state.take(pathlib.Path(sys.argv[1]))
except AlreadyRunningError as error:
    print("refused:", error.message)
"""


def service(pid: int, *, started: str | None = None) -> state.Service:
    process = processes.identify(pid) if started is None else processes.Process(pid=pid, started=started)
    return state.Service(ports={"broker": 9092, "database": 5432}, process=process)


def test_what_is_recorded_is_found_by_another_terminal(tmp_path: Path) -> None:
    state.record(tmp_path, state.KAFKA, service(os.getpid()))
    state.record(tmp_path, state.POSTGRES, service(os.getpid()))
    assert state.running_bootstrap_servers(tmp_path) == "127.0.0.1:9092"
    secret = state.password(tmp_path)
    url = f"postgresql+psycopg://stillwatch:{secret}@127.0.0.1:5432/stillwatch"
    assert state.running_database_url(tmp_path) == url


def test_the_password_is_made_once_for_its_owner_alone_and_stands_nowhere_else(tmp_path: Path) -> None:
    secret = state.password(tmp_path)
    state.record(tmp_path, state.POSTGRES, service(os.getpid()))
    assert state.password(tmp_path) == secret
    assert len(secret) >= 32
    for name in (state.PASSWORD, state.ENDPOINTS):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert secret not in (tmp_path / state.ENDPOINTS).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".endpoints.lock", state.ENDPOINTS, state.PASSWORD]


@pytest.mark.parametrize("recorded", [None, "another-boot:1", ""])
def test_a_pid_that_is_somebody_elses_by_now_is_not_a_running_service(tmp_path: Path, recorded: str | None) -> None:
    if recorded is not None:
        state.record(tmp_path, state.KAFKA, service(os.getpid(), started=recorded))
    with pytest.raises(NotRunningError, match="does not run"):
        state.running_bootstrap_servers(tmp_path)


def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / state.ENDPOINTS).write_text('{"services": 3}')
    with pytest.raises(StillwatchError, match="not a record of endpoints"):
        state.read_endpoints(tmp_path)


def test_a_directory_has_one_supervisor_and_the_claim_ends_with_its_holder(tmp_path: Path) -> None:
    claim = state.take(tmp_path)
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == f"refused: Stillwatch already runs on {tmp_path}.\n"
    os.close(claim)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_reset_deletes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    state.password(tmp_path)
    assert set(state.reset(tmp_path)) == {"kafka", state.PASSWORD, state.LOCK}
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert state.reset(tmp_path / "absent") == []


def test_reset_removes_a_directory_that_was_all_ours(tmp_path: Path) -> None:
    base = state.prepare_base(tmp_path / "base")
    (base / "logs").mkdir()
    state.reset(base)
    assert not base.exists()


def test_reset_is_refused_while_a_service_or_a_supervisor_runs(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    state.record(tmp_path, state.KAFKA, service(os.getpid()))
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
        state.reset(tmp_path)
    state.record(tmp_path, state.KAFKA, state.Service(ports={}))
    claim = state.take(tmp_path)
    with pytest.raises(AlreadyRunningError):
        state.reset(tmp_path)
    os.close(claim)
    assert (tmp_path / "kafka").is_dir()
