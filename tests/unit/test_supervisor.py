from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import processes
from services.supervisor.part import Part, PartsError, ReadyState, RestartPolicy, State, in_order
from services.supervisor.report import JsonReport, TextReport
from services.supervisor.supervisor import FAILED, HURRIED, STOPPED_WELL, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

QUICK = RestartPolicy(first_delay=0.05, longest_delay=0.2, max_attempts=3, start_timeout=5.0)
FOREVER = "import time; print('up', flush=True); time.sleep(60)"
# Says when it was asked to end, to the shared file, and ends.
POLITE = """
import pathlib, signal, sys, time
def end(*_):
    with open(sys.argv[1], "a") as log: log.write(sys.argv[2] + "\\n")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1] + "." + sys.argv[2]).touch()
time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def script(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text, *arguments]


class Log:
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.changes: list[tuple[str, State]] = []
        self.details: dict[str, str] = {}
        self.said: list[str] = []

    def line(self, part: str, text: str) -> None:
        self.lines.append((part, text))

    def change(self, part: str, state: State, *, seconds: float | None = None, detail: str = "") -> None:
        assert seconds is None or 0 <= seconds < 30
        self.changes.append((part, state))
        self.details[f"{part} {state}"] = detail

    def say(self, text: str) -> None:
        self.said.append(text)

    def states(self, part: str) -> list[State]:
        return [state for name, state in self.changes if name == part]


def touched(path: Path) -> Callable[[], ReadyState]:
    return lambda: ReadyState(ready=path.exists())


def run(supervisor: Supervisor, during: Callable[[], Awaitable[None]] | None = None) -> int:
    async def both() -> int:
        running = asyncio.create_task(supervisor.run())
        if during is not None:
            await during()
            supervisor.request_stop()
        return await running

    return asyncio.run(both())


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.02)


def test_parts_start_in_order_and_stop_in_the_reverse(tmp_path: Path) -> None:
    log, journal = Log(), tmp_path / "journal"

    def polite(name: str, *after: str) -> Part:
        ready = touched(tmp_path / f"journal.{name}")
        return Part(name, script(POLITE, str(journal), name), ready=ready, after=after)

    task = Part("task", script("print('done')"), task=True, after=("base",))
    supervisor = Supervisor([polite("top", "middle"), polite("middle", "task"), task, polite("base")], log)

    async def all_ready() -> None:
        await until(lambda: all(kept.ready.is_set() for kept in supervisor.kept))

    assert run(supervisor, all_ready) == STOPPED_WELL
    begun = [(name, state) for name, state in log.changes if state in {State.STARTING, State.READY, State.DONE}]
    starting, ready = State.STARTING, State.READY
    assert begun == [
        ("base", starting),
        ("base", ready),
        ("task", starting),
        ("task", State.DONE),
        ("middle", starting),
        ("middle", ready),
        ("top", starting),
        ("top", ready),
    ]
    assert journal.read_text().split() == ["top", "middle", "base"]
    assert ("task", "done") in log.lines


def test_a_crash_after_being_ready_is_mended_for_ever(tmp_path: Path) -> None:
    log = Log()
    part = Part("worker", script(FOREVER), restart=QUICK)
    supervisor = Supervisor([part], log)
    kept = supervisor.kept[0]

    async def crash() -> None:
        for restarts in range(5):
            await until(lambda n=restarts: kept.restarts == n and kept.state is State.READY)  # type: ignore[misc]  # a default binds n
            assert kept.pid is not None
            os.kill(kept.pid, signal.SIGKILL)
        await until(lambda: kept.restarts == 5 and kept.state is State.READY)

    assert run(supervisor, crash) == STOPPED_WELL
    assert log.states("worker").count(State.RESTARTING) == 5
    assert "killed by SIGKILL" in log.details["worker restarting"]
    assert State.FAILED not in log.states("worker")


def test_an_end_without_an_error_is_a_crash_unless_the_part_may_end() -> None:
    log = Log()
    quick = script("import time; time.sleep(0.3)")
    supervisor = Supervisor([Part("worker", quick, restart=QUICK), Part("show", quick, may_end=True)], log)
    by_name = {kept.part.name: kept for kept in supervisor.kept}

    async def wait() -> None:
        await until(lambda: by_name["worker"].restarts >= 2 and by_name["show"].state is State.DONE)

    assert run(supervisor, wait) == STOPPED_WELL
    assert log.states("show") == [State.STARTING, State.READY, State.DONE]


def test_what_cannot_start_ends_the_whole_with_its_last_lines() -> None:
    log = Log()
    text = "print(*range(30), sep='\\n'); print('no such table', flush=True); raise SystemExit(9)"
    broken = Part("broken", script(text), ready=lambda: ReadyState(ready=False), restart=QUICK)
    never = Part("never", script(FOREVER), after=("broken",))
    supervisor = Supervisor([Part("good", script(FOREVER)), broken, never], log)
    assert run(supervisor) == FAILED
    assert log.states("broken").count(State.STARTING) == 3
    assert log.states("never") == []
    assert log.states("good")[-1] is State.STOPPED
    assert log.said[0] == "broken could not start: ended with code 9. Its last lines:"
    assert [line.strip() for line in log.said[1:]] == [*map(str, range(11, 30)), "no such table"]


def test_a_start_that_takes_too_long_has_failed() -> None:
    log = Log()
    slow = RestartPolicy(first_delay=0.01, max_attempts=1, start_timeout=0.3)
    part = Part("slow", script(FOREVER), ready=lambda: ReadyState(ready=False, detail="still loading"), restart=slow)
    task = Part("task", script(FOREVER), task=True, restart=slow)
    assert run(Supervisor([part], log)) == FAILED
    assert run(Supervisor([task], log)) == FAILED
    assert log.details["slow failed"] == "not ready within 0 s: still loading"
    assert log.details["task failed"] == "not done within 0 s"


def test_what_ignores_the_end_is_ended_by_force_and_a_second_request_hurries() -> None:
    for patience, expected in ((0.3, STOPPED_WELL), (60.0, HURRIED)):
        log = Log()
        supervisor = Supervisor([Part("stubborn", script(STUBBORN), stop_timeout=patience)], log)
        kept = supervisor.kept[0]
        began = time.monotonic()

        async def wait(log: Log = log, patience: float = patience, supervisor: Supervisor = supervisor) -> None:
            await until(lambda: ("stubborn", "up") in log.lines)
            if patience > 1:
                supervisor.request_stop()
                await until(lambda: State.STOPPING in log.states("stubborn"))

        assert run(supervisor, wait) == expected
        assert time.monotonic() - began < 10
        assert kept.child is None


def test_a_part_that_ceases_to_be_ready_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("services.supervisor.supervisor.HEALTH_SECONDS", 0.05)
    log, flag = Log(), tmp_path / "ready"
    flag.touch()
    supervisor = Supervisor([Part("worker", script(FOREVER), ready=touched(flag))], log)

    async def flip() -> None:
        await until(lambda: log.states("worker")[-1:] == [State.READY])
        flag.unlink()
        await until(lambda: log.states("worker")[-1] is State.UNREADY)
        flag.touch()
        await until(lambda: log.states("worker")[-1] is State.READY)

    assert run(supervisor, flip) == STOPPED_WELL


def test_the_hook_runs_once_all_is_ready_and_its_error_ends_the_whole() -> None:
    log = Log()
    heard: list[State] = []

    async def hook() -> None:
        heard.extend(kept.state for kept in supervisor.kept)
        raise RuntimeError("a bug in the hook")

    supervisor = Supervisor([Part("worker", script(FOREVER))], log, on_ready=hook)
    with pytest.raises(RuntimeError, match="a bug in the hook"):
        run(supervisor)
    assert heard == [State.READY]
    assert log.states("worker")[-1] is State.STOPPED


def test_lines_are_kept_on_disk_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("services.supervisor.child.LOG_BYTES", 1_000)
    log = Log()
    text = "import sys\nfor n in range(100): print(f'line {n:04}')\nsys.stdout.write('no end' + chr(233) * 40_000)"
    task = Part("talker", script(text), task=True)
    supervisor = Supervisor([task], log, log_dir=tmp_path)

    async def done() -> None:
        await until(lambda: supervisor.kept[0].state is State.DONE)

    run(supervisor, done)
    told = [line for _, line in log.lines]
    assert told[:100] == [f"line {n:04}" for n in range(100)]
    assert "".join(told[100:]).startswith("no end")
    assert max(len(line) for line in told) <= 32_768
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talker.log", "talker.log.1"]
    assert (tmp_path / "talker.log.1").stat().st_size <= 40_000 * 2 + 1_000


def test_a_grandchild_does_not_outlive_its_part() -> None:
    log = Log()
    text = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    supervisor = Supervisor([Part("worker", script(text))], log)

    async def wait() -> None:
        await until(lambda: bool(log.lines))

    run(supervisor, wait)
    assert processes.wait_until_gone(processes.identify(int(log.lines[0][1])), 5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Part("a", []), Part("a", [])], "the same name"),
        ([Part("a", [], after=("b",))], r"after \['b'\]"),
        ([Part("a", [], after=("b",)), Part("b", [], after=("a",))], "circle"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(parts: list[Part], message: str) -> None:
    with pytest.raises(PartsError, match=message):
        in_order(parts)


def test_the_backoff_doubles_to_its_bound_within_its_jitter() -> None:
    policy = RestartPolicy(first_delay=1.0, factor=2.0, longest_delay=5.0, jitter=0.2)
    random = Random(1)  # noqa: S311  # the jitter guards nothing
    for failures, plain in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (40, 5.0)):
        delays = [policy.delay(failures, random) for _ in range(200)]
        assert plain * 0.8 <= min(delays) < plain < max(delays) <= plain * 1.2


def test_text_has_the_parts_name_in_front() -> None:
    told: list[str] = []
    report = TextReport(told.append, ("api", "accounts"), colour=False)
    report.line("api", '{"event": "request", "level": "info"}')
    report.change("accounts", State.READY, seconds=1.234)
    assert told == [
        'api        | {"event": "request", "level": "info"}\n',
        "stillwatch | accounts ready in 1.2 s\n",
    ]


def test_a_terminal_gets_structured_lines_as_words() -> None:
    told: list[str] = []
    report = TextReport(told.append, ("api",), colour=True)
    report.line("api", '{"event": "request done", "level": "info", "timestamp": "2026-01-01", "status": 200}')
    assert "request done" in told[0]
    assert "status=" in told[0]
    assert "2026" not in told[0]
    report.line("api", "{not json")
    assert "{not json" in told[1]


def test_json_lines_tell_the_same() -> None:
    told: list[str] = []
    report = JsonReport(told.append)
    report.line("api", "hello")
    report.change("api", State.RESTARTING, detail="killed by SIGKILL")
    report.say("stopping")
    assert told == [
        '{"part": "api", "line": "hello"}\n',
        '{"part": "api", "state": "restarting", "seconds": null, "detail": "killed by SIGKILL"}\n',
        '{"say": "stopping"}\n',
    ]
