"""A part that runs and answers nobody any more is ended by force and started again; one that says no is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from services.supervisor.part import Part, ReadyState, RestartPolicy, State
from services.supervisor.probes import asking, readyz
from services.supervisor.report import TextReport
from services.supervisor.supervisor import STOPPED_WELL, Kept, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

# Room for a busy machine: the server below answers within milliseconds when it runs at all.
HANGS = RestartPolicy(first_delay=0.05, longest_delay=0.2, start_timeout=60.0, hang_timeout=3.0)
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
FOREVER = "import time; time.sleep(120)"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def _keep(part: Part, during: Callable[[Kept], Awaitable[None]]) -> list[tuple[State, str]]:
    changes: list[tuple[State, str]] = []

    def note(kept: Sequence[Kept]) -> None:
        changes.append((kept[0].state, kept[0].detail))

    supervisor = Supervisor([part], TextReport(lambda _: None, (part.name,), colour=False), on_change=note)

    async def both() -> int:
        running = asyncio.create_task(supervisor.run())
        await during(supervisor.kept[0])
        supervisor.request_stop()
        return await running

    assert asyncio.run(both()) == STOPPED_WELL
    return changes


@pytest.mark.enable_socket
def test_a_stopped_process_is_killed_and_replaced() -> None:
    port = _free_port()
    part = Part("worker", [sys.executable, "-I", "-S", "-c", SERVER, str(port)], ready=readyz(port), restart=HANGS)
    pids = []

    async def stop_it(kept: Kept) -> None:
        await _until(lambda: kept.state is State.READY, "it is ready")
        assert kept.pid is not None
        pids.append(kept.pid)
        os.kill(kept.pid, signal.SIGSTOP)
        await _until(lambda: kept.restarts == 1 and kept.state is State.READY, "another one is ready")
        assert kept.pid is not None
        pids.append(kept.pid)

    changes = _keep(part, stop_it)
    assert pids[0] != pids[1]
    (why,) = [detail for state, detail in changes if state is State.RESTARTING]
    assert "no answer for" in why


def test_a_part_that_says_no_is_left_alone() -> None:
    began = time.monotonic()

    def ready() -> ReadyState:
        return ReadyState(ready=time.monotonic() - began < 1.0, detail="it reads its state")

    part = Part("worker", [sys.executable, "-I", "-S", "-c", FOREVER], ready=ready, restart=HANGS)

    async def wait(kept: Kept) -> None:
        await _until(lambda: kept.state is State.UNREADY, "it says no")
        await asyncio.sleep(2 * HANGS.hang_timeout)
        assert kept.restarts == 0
        assert kept.state is State.UNREADY

    _keep(part, wait)


def test_a_store_that_does_not_answer_hangs_likewise() -> None:
    answers = [True]
    part = Part(
        "store",
        [sys.executable, "-I", "-S", "-c", FOREVER],
        ready=asking(lambda: answers[0], "the store does not answer"),
        restart=HANGS,
    )

    async def silence(kept: Kept) -> None:
        await _until(lambda: kept.state is State.READY, "it is ready")
        answers[0] = False
        await _until(lambda: kept.restarts >= 1, "it is started again")
        answers[0] = True
        await _until(lambda: kept.state is State.READY, "it is ready again")

    _keep(part, silence)
