"""``python -m stream_jobs.learning``: the learning worker."""

from __future__ import annotations

from schemas.topics import LABELS
from services.bootstrap import load_settings
from stream_jobs.faust_host.worker import run_job
from stream_jobs.learning.job import NAME, LearningJob

if __name__ == "__main__":
    run_job(NAME, load_settings(), [LABELS], LearningJob)
