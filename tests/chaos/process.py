"""One process of the product as a child: started again when it ends, asked whether it is ready, weighed and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.chaos.plan import ROOT


class Process:
    """One of the product's processes; started again whenever it ends, until it is told to stop."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        self._module = module
        self._environment = environment
        self.log = log
        self.starts = 0
        self.ends: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._from = 0
        self.start()

    def start(self) -> None:
        """Start it; its log goes on."""
        with self.log.open("ab") as out:
            self._from = out.tell()
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module], env=self._environment, cwd=ROOT, stdout=out, stderr=out
            )
        self.starts += 1

    def supervise(self) -> None:
        """Start it again where it has ended."""
        if self._child is not None and self._child.poll() is not None:
            self.ends.append(self._child.returncode)
            self.start()

    @property
    def pid(self) -> int:
        """Of the newest start."""
        assert self._child is not None
        return self._child.pid

    @property
    def port(self) -> int:
        """Of its health pages; 0 before it has told it."""
        with self.log.open("rb") as told:
            told.seek(self._from)
            found = re.search(rb'"metrics_port": ?(\d+)', told.read())
        return int(found[1]) if found else 0

    def ready(self) -> bool:
        """Whether /readyz says so within the time that a probe waits."""
        port = self.port
        if not port:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def megabytes(self) -> float:
        """Give its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def kill(self) -> None:
        """``kill -9``, unless it has ended."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it for good."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(20)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait(10)
            self._child = None
