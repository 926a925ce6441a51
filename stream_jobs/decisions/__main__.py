"""``python -m stream_jobs.decisions``: the decisions worker."""

from __future__ import annotations

from schemas.topics import LABELS
from services.bootstrap import load_detection_config, load_settings
from stream_jobs.decisions.job import NAME, DecisionsJob
from stream_jobs.faust_host.worker import run_job

if __name__ == "__main__":
    settings = load_settings()
    policy = load_detection_config(settings).decisions
    run_job(NAME, settings, [LABELS], lambda ports: DecisionsJob(ports, policy))
