"""Keeps the parts alive: ordered start by readiness, restart with backoff, drain in the reverse order.

Promises: a part starts only when all it comes after are ready (or done); it stops only when all that come after it have
stopped; no process of a part outlives the supervisor, however that ends. A part that was ready once is restarted for as
long as the supervisor runs; so is one that runs and answers nobody any more. One that never became ready in
`max_attempts` starts fails the whole, and the exit code and its last lines say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from services.supervisor.child import Child, LogFile
from services.supervisor.part import Part, ReadyState, State, in_order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from services.supervisor.report import Report

PROBE_SECONDS = 0.1
HEALTH_SECONDS = 5.0
STOPPED_WELL = 0
FAILED = 3
HURRIED = 130


@dataclass
class Kept:
    """One part and where it stands; the supervisor alone changes it."""

    part: Part
    log: LogFile
    state: State = State.WAITING
    detail: str = ""
    child: Child | None = None
    restarts: int = 0
    last: list[str] = field(default_factory=list)
    # Held while a process is being started, so that a stop never overlooks one.
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """The pid of its process, if one runs."""
        return self.child.pid if self.child is not None else None


class Supervisor:
    """Runs the parts until told to stop; `run` from the main thread.

    `on_ready` runs beside the parts once all are ready, and is cancelled at the stop. `on_change` hears of every change
    of state. `log_dir` keeps each part's lines in a file of its own.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        report: Report,
        *,
        log_dir: Path | None = None,
        on_ready: Callable[[], Awaitable[None]] | None = None,
        on_change: Callable[[Sequence[Kept]], None] = lambda _kept: None,
        random: Random | None = None,
    ) -> None:
        self._report = report
        self._on_ready = on_ready
        self._on_change = on_change
        self._random = random if random is not None else Random()  # noqa: S311  # spreads restarts, guards nothing
        self._kept = {
            part.name: Kept(part, LogFile(log_dir / f"{part.name}.log" if log_dir is not None else None))
            for part in in_order(parts)
        }
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failed: Kept | None = None

    @property
    def kept(self) -> list[Kept]:
        """Every part and where it stands, in the order of their start."""
        return list(self._kept.values())

    def request_stop(self) -> None:
        """Begin the drain; asked a second time, end everything at once."""
        if self._stop.is_set():
            self._hurry.set()
            for kept in self.kept:
                if kept.child is not None:
                    kept.child.kill()
        else:
            self._report.say("stopping; once more to hurry")
            self._stop.set()

    async def run(self) -> int:
        """Start, keep and stop the parts.

        Returns the exit code: 0 after a drain, 3 when a part could not start, 130 hurried.
        """
        loop = asyncio.get_running_loop()
        caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in caught:
            loop.add_signal_handler(number, self.request_stop)
        tending = [asyncio.create_task(self._tend(kept), name=kept.part.name) for kept in self.kept]
        hook = asyncio.create_task(self._when_ready())
        stop = asyncio.create_task(self._stop.wait())
        try:
            pending = {stop, hook, *tending}
            while not self._stop.is_set():
                ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                # A tender or a hook that raises is a bug: it ends the whole, after the drain.
                if any(task.exception() is not None for task in ended):
                    self._stop.set()
            await self._drain()
        finally:
            for task in (hook, stop, *tending):
                task.cancel()
            ends = await asyncio.gather(hook, stop, *tending, return_exceptions=True)
            for number in caught:
                loop.remove_signal_handler(number)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        if self._failed is not None:
            self._tell_failure(self._failed)
            return FAILED
        return HURRIED if self._hurry.is_set() else STOPPED_WELL

    async def _when_ready(self) -> None:
        for kept in self.kept:
            await kept.ready.wait()
        if self._on_ready is not None:
            await self._on_ready()
        await self._stop.wait()

    async def _tend(self, kept: Kept) -> None:
        """Start the part when its turn comes, and again whenever it ends, until the stop."""
        for name in kept.part.after:
            await self._kept[name].ready.wait()
        policy = kept.part.restart
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            ready_for, why = await self._live(kept)
            if self._stop.is_set() or kept.state is State.DONE:
                break
            failures = 1 if ready_for >= policy.healthy_after else failures + 1
            if not kept.ready.is_set() and failures >= policy.max_attempts:
                self._change(kept, State.FAILED, detail=why)
                self._failed = self._failed or kept
                self._stop.set()
                break
            delay = policy.delay(failures, self._random)
            kept.restarts += 1
            self._change(
                kept,
                State.RESTARTING,
                detail=f"{why} after {time.monotonic() - began:.1f} s; next try in {delay:.1f} s",
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        await self._stop.wait()

    async def _live(self, kept: Kept) -> tuple[float, str]:
        """Run the part's process once; returns for how long it was ready, and why it ended."""
        began = time.monotonic()
        async with kept.starting:
            if self._stop.is_set():
                return 0.0, "stopped before its start"
            child = await Child.start(kept.part, kept.log, lambda line: self._report.line(kept.part.name, line))
            kept.child = child
        ended = asyncio.create_task(child.wait())
        ready_at: float | None = None
        try:
            self._change(kept, State.STARTING, detail=f"pid {child.pid}")
            if kept.part.task:
                why = await self._await_task(kept.part, child, ended)
            else:
                ready_at, why = await self._watch(kept, child, ended, began)
            code = await ended
        except BaseException:
            child.kill()
            raise
        finally:
            kept.last = list(child.last)
            kept.child = None
        if code == 0 and (kept.part.task or kept.part.may_end):
            self._change(kept, State.DONE, seconds=time.monotonic() - began)
            kept.ready.set()
        return 0.0 if ready_at is None else time.monotonic() - ready_at, why or _end(code)

    async def _await_task(self, part: Part, child: Child, ended: asyncio.Task[int]) -> str:
        """Wait for a task's end; one that takes longer than its `start_timeout` is ended here."""
        await asyncio.wait({ended}, timeout=part.restart.start_timeout)
        if ended.done():
            return ""
        await child.stop()
        return f"not done within {part.restart.start_timeout:.0f} s"

    async def _watch(
        self, kept: Kept, child: Child, ended: asyncio.Task[int], began: float
    ) -> tuple[float | None, str]:
        """Ask for readiness until the process ends; a start that takes too long is ended here."""
        ready_at: float | None = None
        answered = began
        while not ended.done():
            told = await asyncio.to_thread(kept.part.ready)
            if ended.done() or kept.state is State.STOPPING:
                break
            now = time.monotonic()
            answered = now if told.answers else answered
            if told.ready and ready_at is None:
                ready_at = time.monotonic()
                self._change(kept, State.READY, seconds=ready_at - began)
                kept.ready.set()
            elif ready_at is not None and now - answered > kept.part.restart.hang_timeout:
                # A process that hangs hears no signal that it could handle.
                child.kill()
                return ready_at, f"no answer for {now - answered:.0f} s: {told.detail}"
            elif ready_at is not None:
                self._health(kept, told)
            elif time.monotonic() - began > kept.part.restart.start_timeout:
                await child.stop()
                return None, f"not ready within {kept.part.restart.start_timeout:.0f} s: {told.detail}"
            pause = min(HEALTH_SECONDS, kept.part.restart.hang_timeout / 2) if ready_at is not None else PROBE_SECONDS
            await asyncio.wait({ended}, timeout=pause)
        return ready_at, ""

    def _health(self, kept: Kept, told: ReadyState) -> None:
        """Tell when a part that runs ceases to be ready, and when it is ready again."""
        now = State.READY if told.ready else State.UNREADY
        if now is not kept.state:
            self._change(kept, now, detail=told.detail)

    async def _drain(self) -> None:
        """Stop each part once all that come after it have stopped."""
        users: dict[str, list[Kept]] = {name: [] for name in self._kept}
        for kept in self.kept:
            for name in kept.part.after:
                users[name].append(kept)

        async def stop(kept: Kept) -> None:
            for user in users[kept.part.name]:
                await user.stopped.wait()
            async with kept.starting:
                child = kept.child
            if child is not None:
                began = time.monotonic()
                self._change(kept, State.STOPPING)
                if self._hurry.is_set():
                    child.kill()
                await child.stop()
                await child.wait()
                self._change(kept, State.STOPPED, seconds=time.monotonic() - began)
            elif kept.state in {State.STARTING, State.READY, State.UNREADY, State.RESTARTING}:
                self._change(kept, State.STOPPED)
            kept.stopped.set()

        await asyncio.gather(*(stop(kept) for kept in self.kept))

    def _change(self, kept: Kept, state: State, *, seconds: float | None = None, detail: str = "") -> None:
        kept.state = state
        kept.detail = detail
        self._report.change(kept.part.name, state, seconds=seconds, detail=detail)
        self._on_change(self.kept)

    def _tell_failure(self, kept: Kept) -> None:
        self._report.say(f"{kept.part.name} could not start: {kept.detail}. Its last lines:")
        for line in kept.last:
            self._report.say(f"  {line}")


def _end(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with code {code}"
    return f"killed by {signal.Signals(-code).name}"
