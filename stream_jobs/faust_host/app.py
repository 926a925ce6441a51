"""Settings to a Faust app: raw bytes, no topic of its own, no web server, no store, a crash ends the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import faust

from stream_jobs.faust_host.connection import broker_url, credentials

if TYPE_CHECKING:
    from services.settings import Settings

LINGER_SECONDS: Final = 0.02
COMMIT_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 1.0
REQUEST_SECONDS: Final = 40.0  # A broker that is away longer than this ends the process; Faust waits for 20 minutes.
LARGEST_REQUEST: Final = 9 << 20  # Above the largest topic's limit of 8 MiB.
FETCH_BYTES: Final = 1 << 20
BUFFERED_RECORDS: Final = 1024


def group_of(job: str) -> str:
    """Name the consumer group of a job."""
    return f"stillwatch-{job}"


class JobApp(faust.App):
    """An app that leaves nothing on the disk."""

    def _create_directories(self) -> None:
        """Make no data directory: Faust's would stand in the working directory, which may be read-only."""


def make_app(job: str, settings: Settings) -> JobApp:
    """Make the app of a job. Nothing connects before the worker starts it."""
    return JobApp(
        group_of(job),
        broker=broker_url(settings),
        broker_credentials=credentials(settings),
        broker_client_id=f"{group_of(job)}-{settings.worker_index}",
        consumer_group_instance_id=f"{group_of(job)}-{settings.worker_index}" if settings.static_membership else None,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        # Faust refuses to start where a member may be silent for longer than a request may last.
        broker_request_timeout=max(REQUEST_SECONDS, settings.session_timeout_ms / 1000 + HEARTBEAT_SECONDS),
        broker_commit_interval=COMMIT_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        stream_buffer_maxsize=BUFFERED_RECORDS,
        # Records in work are neither waited for nor needed: what is not finished comes again.
        stream_wait_empty=False,
        # Names and prefixes would be Faust's otherwise; topics come from the topics table alone.
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        table_standby_replicas=0,
        producer_linger=LINGER_SECONDS,
        producer_request_timeout=REQUEST_SECONDS,
        producer_max_request_size=LARGEST_REQUEST,
        agent_supervisor="mode.supervisors:CrashingSupervisor",
        web_enabled=False,
        worker_redirect_stdouts=False,
        autodiscover=False,
        version=1,
    )
