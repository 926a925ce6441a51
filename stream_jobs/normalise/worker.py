"""Runs the normalise job. The command line gives the normalisers: this room may not know the gateway's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from schemas.topics import RAW_TOPICS
from stream_jobs.faust_host.worker import run_job
from stream_jobs.normalise.job import NAME, NormaliseJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.settings import Settings
    from stream_jobs.normalise.job import Normaliser


def run(settings: Settings, normalisers: Mapping[str, Normaliser]) -> NoReturn:
    """Normalise the topics that ``normalisers`` names until told to stop; never returns."""
    topics = [topic for topic in RAW_TOPICS if topic.name in normalisers]
    run_job(NAME, settings, topics, lambda ports: NormaliseJob(ports, normalisers))
