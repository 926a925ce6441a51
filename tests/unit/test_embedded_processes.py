from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import processes, unprivileged

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
# A parent that starts a leashed child, tells its pid, and waits to be killed.
PARENT = """
import subprocess, sys, time
from services.adapters.embedded import processes
child = processes.spawn([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
    output=sys.stdout.fileno(), flags=sys.argv[1].split(","))
time.sleep(60)
"""


@pytest.mark.parametrize("flag", ["-", "watch"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_leashed_child_dies_with_its_parent(flag: str, number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, flag], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = processes.identify(int(parent.stdout.readline()))
    assert child.alive()
    parent.send_signal(number)
    parent.wait(5)
    parent.stdout.close()
    assert processes.wait_until_gone(child, 5)


def test_the_child_keeps_the_pid_that_its_parent_knows_and_its_exit_code() -> None:
    child = processes.spawn([sys.executable, "-c", "import os; os._exit(os.getpid() % 97)"], output=subprocess.DEVNULL)
    assert child.wait(10) == child.pid % 97


def test_a_watched_child_gets_the_signals_and_its_end_is_told() -> None:
    child = processes.spawn(SLEEP, output=subprocess.DEVNULL, flags=["watch"])
    time.sleep(0.3)
    child.terminate()
    assert child.wait(10) == 128 + signal.SIGTERM


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(processes.spawn(SLEEP, output=subprocess.DEVNULL)))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert started[0].poll() is None
    started[0].kill()
    started[0].wait(5)


def test_a_command_that_is_not_there_is_told() -> None:
    code, said = processes.run(["/no/such/program"])
    assert (code, said) == (127, "cannot start /no/such/program: no such file\n")


def test_a_leash_whose_holder_has_gone_starts_nothing(tmp_path: Path) -> None:
    line = processes.leashed(["touch", str(tmp_path / "ran")], parent=1)
    assert subprocess.run(line, check=False).returncode == 143
    assert not (tmp_path / "ran").exists()


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    me = processes.identify(os.getpid())
    assert me.alive()
    assert not processes.Process(pid=me.pid, started=me.started + "1").alive()
    ended = subprocess.Popen(SLEEP)
    gone = processes.identify(ended.pid)
    ended.kill()
    assert processes.wait_until_gone(gone, 5), "a zombie does not count as alive"
    ended.wait()


def test_processes_are_found_by_their_working_directory(tmp_path: Path) -> None:
    child = subprocess.Popen(SLEEP, cwd=tmp_path)
    assert processes.working_in(tmp_path) == [child.pid]
    child.kill()
    child.wait()
    assert processes.working_in(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
@pytest.mark.parametrize("flag", [unprivileged.NAMESPACE, unprivileged.ACCOUNT])
def test_a_server_that_refuses_root_sees_another_user(flag: str) -> None:
    if flag == unprivileged.NAMESPACE and unprivileged.flags() != (flag,):
        pytest.skip("this kernel grants no user namespace")
    assert processes.run(["id", "-un"], flags=[flag]) == (0, "nobody\n")
