"""The incidents worker with the toy step."""

from __future__ import annotations

from schemas.topics import FINDINGS
from services.adapters.clock import SystemClock
from services.bootstrap import load_settings
from stream_jobs.faust_host.worker import run_job
from stream_jobs.incidents.job import NAME, IncidentsJob
from tests.stream_jobs.workers.toy_step import ToyStep

if __name__ == "__main__":
    settings = load_settings()
    run_job(
        NAME,
        settings,
        [FINDINGS],
        lambda ports: IncidentsJob(ports, SystemClock(), lambda: ToyStep(settings.partitions), 900_000),
    )
