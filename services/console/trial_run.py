"""``python -m services.console.trial_run TRIAL``: play retained requests through two configurations and compare.

A process of its own, for it needs a core for minutes. It ends by itself when the process that began it is gone.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition
from sqlalchemy.orm import Session

from detection.config import DetectionConfig
from schemas.account_attributes import AccountAttributes
from schemas.entitlement import Entitlement
from schemas.model_version import BARS
from schemas.request_event import RequestEvent
from schemas.topics import ACCOUNT_ATTRIBUTES, ENTITLEMENTS, REQUESTS
from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.postgres import models, trials
from services.adapters.postgres.engine import create_engine
from services.adapters.postgres.moments import to_unix_ms
from services.console.comparing import compare
from services.evaluation.backtest import Backtest, last_revisions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from services.bootstrap import ClientConfig

MAXIMUM_EVENTS: Final = 3_000_000
_BATCH: Final = 5000
_SECONDS: Final = 10.0
_NOTED_EVERY: Final = 20_000


def main() -> int:
    """Run one trial; gives the exit code."""
    trial_id = sys.argv[1]
    settings = bootstrap.load_settings()
    engine = create_engine(bootstrap.database_url(settings), process="trial", pool_size=1)
    tenant = sys.argv[2]
    parent = os.getppid()

    def tell(**changes: Any) -> None:
        if os.getppid() != parent:
            raise SystemExit(1)
        with Session(engine) as session, session.begin():
            trials.note(session, tenant, trial_id, **changes)

    try:
        result = _run(engine, tenant, trial_id, bootstrap.consumer_base(settings), tell)
    except Exception as error:
        # Nobody watches this process: what ended it must stand where the person who began it looks.
        tell(state="failed", told=f"It ended by an error: {type(error).__name__}.")
        raise
    tell(state="done", progress=1.0, told="", result=result)
    engine.dispose()
    return 0


def _run(engine: Engine, tenant: str, trial_id: str, base: ClientConfig, tell: Callable[..., None]) -> dict[str, Any]:
    settings = bootstrap.load_settings()
    with Session(engine) as session:
        row = trials.find(session, tenant, trial_id)
        candidate = msgspec.convert(row.config, DetectionConfig)
        since_ms = to_unix_ms(row.since)
        bars = models.live_version(session, tenant, BARS)
    running = bootstrap.load_detection_config(settings)
    references = bootstrap.load_references(settings)
    tell(told="Reading the retained requests")
    events = list(_read(base, REQUESTS.name, RequestEvent, since_ms))
    attributes = list(_read(base, ACCOUNT_ATTRIBUTES.name, AccountAttributes, None))
    entitlements = list(_read(base, ENTITLEMENTS.name, Entitlement, None))
    alerts = []
    for number, (name, config) in enumerate((("running", running), ("candidate", candidate))):
        run = Backtest(config, references, settings.partitions, bars=bars)
        run.tell(attributes, entitlements)
        played = _noted(events, tell, f"Playing the {name} configuration", number)
        alerts.append(last_revisions(run.run(played)))
    return {
        "events": len(events),
        "limited": len(events) >= MAXIMUM_EVENTS,
        "running_version": running.version,
        "ended_at": utc_now().isoformat(),
        **compare(*alerts),
    }


def _noted(events: list[RequestEvent], tell: Callable[..., None], told: str, run: int) -> Iterator[RequestEvent]:
    for number, event in enumerate(events):
        if number % _NOTED_EVERY == 0:
            tell(told=told, progress=round((run + number / len(events)) / 2, 3))
        yield event


def _read(base: ClientConfig, topic: str, kind: type[Any], since_ms: int | None) -> Iterator[Any]:
    """Give a topic's records of one type from a moment on (all where None), each partition in its order."""
    consumer = Consumer(
        base
        | {
            "group.id": "stillwatch-trial",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    decoder = msgspec.json.Decoder(kind)
    tag = f'"type":"{kind.__struct_config__.tag}"'.encode()
    try:
        partitions = consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number, since_ms or 0) for number in partitions]
        if since_ms is not None:
            places = consumer.offsets_for_times(places, timeout=_SECONDS)
        open_places = {place.partition for place in places if place.offset != OFFSET_END}
        consumer.assign([place for place in places if place.partition in open_places])
        given = 0
        while open_places and given < MAXIMUM_EVENTS:
            for message in consumer.consume(_BATCH, timeout=_SECONDS):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name for it
                        raise KafkaException(error)
                    open_places.discard(message.partition())
                    continue
                value = message.value()
                # Heartbeats share the requests topic; they say nothing to a run that has all of it.
                if value is not None and tag in value.replace(b": ", b":"):
                    given += 1
                    yield decoder.decode(value)
    finally:
        consumer.close()


if __name__ == "__main__":
    sys.exit(main())
