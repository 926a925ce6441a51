"""What exists on the broker: partition counts, checked before the first record is read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.telemetry.logs import get_logger
from stream_jobs.engine.errors import LayoutError

if TYPE_CHECKING:
    from services.bootstrap import ClientConfig
    from stream_jobs.engine.job import Job

DEAD_LETTERS: Final = "dead-letters"
_PATIENCE_SECONDS: Final = 60.0


def read_widths(base: ClientConfig, job: Job) -> dict[str, int]:
    """Give the partition count of every topic of the job.

    Raises LayoutError where one is missing, or where sources and state differ: a partition number stands for the same
    keys in all of them.
    """
    present = _partition_counts(base)
    alike = [*(source.topic for source in job.sources), job.state_topic]
    needed = [*alike, *job.others, DEAD_LETTERS]
    missing = sorted(set(needed) - present.keys())
    if missing:
        raise LayoutError(f"no topic {', '.join(missing)}")
    widths = {topic: present[topic] for topic in needed}
    if len({widths[topic] for topic in alike}) > 1:
        counts = ", ".join(f"{topic} {widths[topic]}" for topic in alike)
        raise LayoutError(f"partition counts must be equal: {counts}")
    return widths


def _partition_counts(base: ClientConfig) -> dict[str, int]:
    admin = AdminClient(dict(base))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            topics = admin.list_topics(timeout=10).topics
        except KafkaException as failure:
            if time.monotonic() > deadline:
                raise LayoutError(f"the broker does not answer: {failure.args[0].name()}", "Is it up?") from failure
            get_logger().warning("broker.waits", error=failure.args[0].name())
        else:
            return {name: len(topic.partitions) for name, topic in topics.items()}
