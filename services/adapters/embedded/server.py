"""What the embedded Kafka and Postgres share: prepared data, a leash, readiness, an end, a record of where they listen.

A server is used in one of two ways. In a program or a test it is a context manager that starts and stops a child
process. Under the supervisor `python -m services.adapters.embedded NAME BASE_DIR` prepares it and then *becomes* it, so
that its pid is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from abc import ABC, abstractmethod
from signal import SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, ClassVar, Self

from services.adapters.embedded import files, ports, processes, state
from services.errors import AlreadyRunningError, StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY_POLL_SECONDS = 0.03
LAST_LINES = 20
COMPLETE = "complete.json"


class EmbeddedError(StillwatchError):
    """An embedded service cannot be prepared or started."""


class HalfWrittenError(EmbeddedError):
    """The data directory was left half-written: its creation was interrupted."""


def _silent(_line: str) -> None:
    """Report to nobody."""


class EmbeddedServer(ABC):
    """One server process on the loopback address, its data under `base_dir`, kept between runs.

    `port` fixes the main port. Otherwise it is the one of the last run, else `preferred_port`, else a random one, each
    if free; from the first start on it stays for this object's life, so that clients find a restarted server again. Not
    safe for use by several threads at once.
    """

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    # What asks the server to end in good order, and what it gets when the process that started it dies.
    stop_signal: ClassVar[Signals] = SIGTERM
    death_signal: ClassVar[Signals] = SIGKILL

    def __init__(
        self,
        base_dir: Path,
        *,
        port: int | None = None,
        preferred_port: int | None = None,
        report: Callable[[str], None] = _silent,
    ) -> None:
        self.base_dir = base_dir.absolute()
        self.home = self.base_dir / self.name
        self.data = self.home / "data"
        self.log = self.base_dir / "logs" / f"{self.name}.log"
        self._fixed_port = port
        self._preferred_port = preferred_port
        self._report = report
        self._ports: dict[str, int] = {}
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> list[str]:
        """Create what is missing and return the server's command line.

        May be repeated; raises EmbeddedError or JarError.
        """

    @abstractmethod
    def ready(self) -> bool:
        """Ask the server itself, over its port, whether it serves clients."""

    def flags(self) -> list[str]:
        """Return the flags of the leash; none unless a server needs them."""
        return []

    def before_start(self) -> None:  # noqa: B027  # most servers have nothing to do here
        """Deal with what a crashed run left; called when no recorded process of this server lives."""

    @property
    def ports(self) -> dict[str, int]:
        """Every port of the server by name, chosen at the first look."""
        if not self._ports:
            known = self._recorded().ports
            for place, name in enumerate(self.port_names):
                main = place == 0
                if main and self._fixed_port is not None:
                    self._ports[name] = self._fixed_port
                    continue
                preferred = (known.get(name), self._preferred_port if main else None)
                self._ports[name] = ports.choose(*preferred, taken=self._ports.values())
        return dict(self._ports)

    @property
    def port(self) -> int:
        """The port that clients use."""
        return self.ports[self.port_names[0]]

    @property
    def pid(self) -> int:
        """The server's own pid; raises EmbeddedError when this object has started none."""
        if self._child is None:
            raise EmbeddedError(f"The embedded {self.name} is not started.")
        return self._child.pid

    def assign_ports(self) -> None:
        """Choose the ports and record them, for a process that is about to become the server."""
        state.prepare_base(self.base_dir)
        self._refuse_running()
        state.record(self.base_dir, self.name, state.Service(ports=self.ports))

    def start(self, timeout: float = 60.0) -> Self:
        """Prepare the server, start it and wait until it serves.

        Raises EmbeddedError with its last lines when it does not.
        """
        self.make_ready_to_run()
        command = self.prepare_locked()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = processes.spawn(command, output=log, death_signal=self.death_signal, flags=self.flags())
        try:
            state.record(self.base_dir, self.name, state.Service(self.ports, processes.identify(self._child.pid)))
            self._wait(timeout)
        except BaseException:
            self.kill()
            raise
        return self

    def become(self) -> None:
        """Turn this very process into the server: it keeps its pid, its outputs and its leash. Does not return."""
        self.make_ready_to_run()
        command = self.prepare_locked()
        state.record(self.base_dir, self.name, state.Service(self.ports, processes.identify(os.getpid())))
        line = self.wrapped(command)
        os.execv(line[0], line)  # noqa: S606  # the server's own command line, no shell

    def wrapped(self, command: list[str]) -> list[str]:
        """Return the command line to become; a server that needs the leash's flags overrides it."""
        return command

    def stop(self, timeout: float = 30.0) -> None:
        """End the server in good order; after `timeout` seconds by force. Does nothing when it does not run."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(self.stop_signal)
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
        self._forget(child)

    def kill(self) -> None:
        """End the server as a crash would (`kill -9`); the data stays as it fell."""
        child = self._child
        if child is None:
            return
        child.kill()
        self._forget(child)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def make_ready_to_run(self) -> None:
        """Refuse when the server runs already or its port is taken; clear away what a crash left."""
        state.prepare_base(self.base_dir)
        self._refuse_running()
        if not ports.is_free(self.port):
            raise EmbeddedError(
                f"Port {self.port} of the embedded {self.name} is taken by another process.",
                hint="Stop that process, or choose another port.",
            )
        self.before_start()

    def prepare_locked(self) -> list[str]:
        """Prepare while no other process prepares the same directory."""
        with files.locked(self.base_dir / f".{self.name}.lock"):
            return self.prepare()

    def complete(self) -> dict[str, str] | None:
        """Return what was noted when the data directory was finished; None when there is none yet.

        Raises HalfWrittenError when there is data without the note: its creation was cut off, and nobody knows what is
        in it.
        """
        marker = self.home / COMPLETE
        if marker.is_file():
            noted: dict[str, str] = json.loads(marker.read_bytes())
            return noted
        if self.data.is_dir() and any(self.data.iterdir()):
            raise HalfWrittenError(
                f"The embedded {self.name}'s data in {self.data} is half-written: its creation was interrupted.",
                hint="Run `stillwatch reset` to wipe it, then start again.",
            )
        return None

    def note_complete(self, **facts: str) -> None:
        """Note that the data directory is finished; the last step of its creation."""
        files.write_whole(self.home / COMPLETE, json.dumps(facts).encode())

    def _recorded(self) -> state.Service:
        return state.read_endpoints(self.base_dir).services.get(self.name, state.Service(ports={}))

    def _refuse_running(self) -> None:
        recorded = self._recorded()
        if recorded.process is not None and recorded.process.pid != os.getpid() and recorded.running:
            raise AlreadyRunningError(
                f"The embedded {self.name} already runs on {self.base_dir} (pid {recorded.process.pid}).",
                hint="Use that one, stop it, or choose another base directory.",
            )

    def _wait(self, timeout: float) -> None:
        child = self._child
        deadline = time.monotonic() + timeout
        while child is not None and not self.ready():
            code = child.poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with code {code}" if code is not None else f"did not serve within {timeout:.0f} s"
                lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
                raise EmbeddedError(
                    f"The embedded {self.name} {what}.", hint="\n".join([f"Last lines of {self.log}:", *lines])
                )
            time.sleep(READY_POLL_SECONDS)

    def _forget(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._child = None
        # A server can be stopped after its directory was removed: there is nothing left to record then.
        if self.base_dir.is_dir():
            state.record(self.base_dir, self.name, state.Service(ports=self.ports))
