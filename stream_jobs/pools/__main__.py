"""``python -m stream_jobs.pools``: one worker of the pools job."""

from __future__ import annotations

from services.bootstrap import load_detection_config, load_references
from stream_jobs.engine.process import run_process
from stream_jobs.pools.job import pools_job

if __name__ == "__main__":
    run_process(
        "pools",
        lambda settings: pools_job(load_detection_config(settings), load_references(settings)),
        lambda settings: load_detection_config(settings).version,
    )
