"""One running process of a part: started on the leash, its lines pumped, its end in two steps."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from signal import SIGKILL
from typing import TYPE_CHECKING

from services.adapters.embedded.processes import leashed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.supervisor.part import Part

LAST_LINES = 20
LONGEST_LINE = 16_384
# A file of this size becomes NAME.log.1, in place of the one before it.
LOG_BYTES = 8_000_000
# Something else may hold the output open after the process has ended; its lines are not waited for.
DRAIN_SECONDS = 1.0


class LogFile:
    """A part's lines on disk, two files of at most LOG_BYTES; nothing at all when there is no path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._size = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._size = path.stat().st_size if path.exists() else 0

    def write(self, line: str) -> None:
        """Append one line."""
        if self._path is None:
            return
        data = line.encode(errors="replace") + b"\n"
        if self._size + len(data) > LOG_BYTES:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._size = 0
        with self._path.open("ab") as file:
            file.write(data)
        self._size += len(data)


class Child:
    """A part's process. `last` keeps its last lines; `on_line` gets each line as it comes."""

    def __init__(
        self,
        part: Part,
        process: asyncio.subprocess.Process,
        output: asyncio.StreamReader,
        transport: asyncio.ReadTransport,
        log: LogFile,
        on_line: Callable[[str], None],
    ) -> None:
        self._part = part
        self._process = process
        self._output = output
        self._transport = transport
        self._log = log
        self._on_line = on_line
        self._swept = False
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._pump = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, part: Part, log: LogFile, on_line: Callable[[str], None]) -> Child:
        """Start the part's process in a session of its own.

        So Ctrl-C in the terminal reaches the supervisor alone. To be called from the main thread: the kernel ends the
        process with the thread that started it.
        """
        # A pipe of our own, not asyncio's: with that one `wait` would wait for whoever else holds the pipe open.
        reading, writing = os.pipe()
        output = asyncio.StreamReader(limit=LONGEST_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reading, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *leashed(part.argv, death_signal=part.death_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **part.env},
                start_new_session=True,
            )
        except BaseException:
            transport.close()
            raise
        finally:
            os.close(writing)
        return cls(part, process, output, transport, log, on_line)

    @property
    def pid(self) -> int:
        """The pid of the process."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end, take the last lines in, and end whatever it left in its group; returns the exit code."""
        code = await self._process.wait()
        self.kill()
        self._swept = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._pump), DRAIN_SECONDS)
        self._pump.cancel()
        self._transport.close()
        return code

    async def stop(self) -> None:
        """Ask the process to end; after the part's `stop_timeout` end it by force."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self._part.stop_signal)
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), self._part.stop_timeout)
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """End the process and its group at once.

        Nothing once `wait` has returned, for the pid may be another's by then.
        """
        if self._swept:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, SIGKILL)

    async def _read(self) -> None:
        rest = b""
        while part := await self._output.read(LONGEST_LINE):
            *lines, rest = (rest + part).split(b"\n")
            # A line without an end would grow for ever.
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        self.last.append(line)
        self._log.write(line)
        self._on_line(line)
