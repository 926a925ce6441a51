"""``python -m stream_jobs.accounts``: one worker of the accounts job."""

from __future__ import annotations

from detection.accounts.warm import warm_up
from services.bootstrap import load_detection_config, load_references
from stream_jobs.accounts.job import accounts_job
from stream_jobs.engine.process import run_process

if __name__ == "__main__":
    warm_up()  # Before the group gives this worker a partition.
    run_process(
        "accounts",
        lambda settings: accounts_job(load_detection_config(settings), load_references(settings)),
        lambda settings: load_detection_config(settings).version,
    )
