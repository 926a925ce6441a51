"""``python -m stream_jobs.learning``: the learning worker."""

from __future__ import annotations

from detection.incidents.step import IncidentsStep
from detection.ranking.proposing import budget_of
from schemas.topics import LABELS
from services.adapters.clock import SystemClock
from services.bootstrap import load_detection_config, load_settings
from stream_jobs.faust_host.worker import run_job
from stream_jobs.learning.bars import BarsProposer
from stream_jobs.learning.job import NAME, SOURCE, LearningJob

if __name__ == "__main__":
    settings = load_settings()
    config = load_detection_config(settings)
    budget = budget_of(config, settings.analysts, settings.analyst_alerts_per_hour)
    run_job(
        NAME,
        settings,
        [LABELS],
        lambda ports: LearningJob(
            ports,
            BarsProposer(
                ports,
                SystemClock(),
                lambda: IncidentsStep(config, settings.partitions, settings.partitions),
                config,
                budget,
                SOURCE,
            ),
        ),
    )
