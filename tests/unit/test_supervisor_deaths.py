from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import processes
from services.supervisor.probes import readyz

if TYPE_CHECKING:
    from pathlib import Path

SUPERVISE = """
import asyncio, sys
from services.supervisor.part import Part
from services.supervisor.report import JsonReport
from services.supervisor.supervisor import Supervisor
told = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
parts = [Part(f"part{n}", [sys.executable, "-c", told]) for n in range(3)]
def write(text):
    sys.stdout.write(text); sys.stdout.flush()
sys.exit(asyncio.run(Supervisor(parts, JsonReport(write)).run()))
"""


def start() -> tuple[subprocess.Popen[str], list[processes.Process]]:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert supervisor.stdout is not None
    children = []
    for line in supervisor.stdout:
        if '"line": "pid ' in line:
            children.append(processes.identify(int(line.split("pid ")[1].split('"')[0])))
        if len(children) == 3:
            break
    assert all(child.alive() for child in children)
    return supervisor, children


@pytest.mark.parametrize(
    ("number", "whole_group", "code"),
    [
        (signal.SIGKILL, False, -signal.SIGKILL),
        (signal.SIGTERM, False, 0),
        (signal.SIGHUP, False, 0),
        # Ctrl-C in a terminal goes to the foreground group; the parts must not be in it.
        (signal.SIGINT, True, 0),
    ],
)
def test_no_part_outlives_the_supervisor(number: signal.Signals, whole_group: bool, code: int) -> None:
    supervisor, children = start()
    assert supervisor.stdout is not None
    (os.killpg if whole_group else os.kill)(supervisor.pid, number)
    supervisor.stdout.read()
    assert supervisor.wait(10) == code
    supervisor.stdout.close()
    assert all(processes.wait_until_gone(child, 5) for child in children)


class Ready(BaseHTTPRequestHandler):
    """Answers as its server's `answer` says."""

    answer: tuple[int, bytes] = (200, b"{}")

    def do_GET(self) -> None:
        code, body = self.answer
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("answer", "ready", "detail"),
    [
        ((200, b"{}"), True, ""),
        ((503, b'{"title": "not ready", "detail": "partition 3 waits"}'), False, "partition 3 waits"),
        ((503, b""), False, "/readyz says 503"),
        ((500, b"x\n" * 500), False, ("x " * 500)[:200]),
    ],
)
def test_readiness_is_asked_over_http(answer: tuple[int, bytes], ready: bool, detail: str) -> None:
    handler = type("Handler", (Ready,), {"answer": answer})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told = readyz(server.server_port)()
        server.shutdown()
        thread.join()
    assert (told.ready, told.detail) == (ready, detail)


@pytest.mark.enable_socket
def test_a_part_that_does_not_answer_is_not_ready(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        port = server.server_port
    told = readyz(port)()
    assert (told.ready, told.detail) == (False, "/readyz does not answer (ConnectionRefusedError)")
