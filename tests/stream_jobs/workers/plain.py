"""A worker of the host with the plainest job: copies findings to alerts; "crash" ends it, "hang" makes it stick."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from schemas.topics import ALERTS, FINDINGS
from services.bootstrap import load_settings
from stream_jobs.faust_host.ports import Outgoing
from stream_jobs.faust_host.worker import run_job

if TYPE_CHECKING:
    from stream_jobs.faust_host.ports import Ports, Record


class CopyJob:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def open(self) -> None:
        pass

    async def handle(self, record: Record) -> None:
        value = record.value or b""
        if value == b"crash":
            raise ZeroDivisionError
        if value == b"hang":
            time.sleep(3600)  # noqa: ASYNC251 - the loop is to stick
        if value.startswith(b"poison"):
            await self._ports.dead_letters.reject(record, "schema", "not valid at $", "toy.v1")
        else:
            await self._ports.outbox.send([Outgoing(ALERTS, b"k", value)])
        self._ports.line.finish(record)

    async def tick(self) -> None:
        pass

    async def drain(self) -> None:
        pass


if __name__ == "__main__":
    seconds = float(os.environ.get("TOY_STOP_SECONDS", "20"))
    run_job("plain", load_settings(), [FINDINGS], CopyJob, stop_seconds=seconds)
