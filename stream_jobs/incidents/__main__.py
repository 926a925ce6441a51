"""``python -m stream_jobs.incidents``: the incidents worker."""

from __future__ import annotations

import os

from detection.incidents.step import IncidentsStep
from schemas.topics import FINDINGS
from services.adapters.clock import SystemClock
from services.bootstrap import load_detection_config, load_settings
from services.telemetry.traces import start_spans
from stream_jobs.faust_host.worker import run_job
from stream_jobs.incidents.job import NAME, IncidentsJob

if __name__ == "__main__":
    settings = load_settings()
    config = load_detection_config(settings)
    spans = start_spans(NAME, os.environ)
    run_job(
        NAME,
        settings,
        [FINDINGS],
        lambda ports: IncidentsJob(
            ports,
            SystemClock(),
            lambda: IncidentsStep(config, settings.partitions, settings.partitions),
            config.clocking.hop_ms,
            budget=config.incidents.alerts_per_hour,
            spans=spans,
        ),
    )
