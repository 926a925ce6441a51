"""A real Kafka and a real Postgres for one machine, from pip packages alone, their data kept in one directory."""

from __future__ import annotations

from services.adapters.embedded.kafka import EmbeddedKafka, console_consumer
from services.adapters.embedded.postgres import EmbeddedPostgres
from services.adapters.embedded.server import EmbeddedError, HalfWrittenError

__all__ = ["EmbeddedError", "EmbeddedKafka", "EmbeddedPostgres", "HalfWrittenError", "console_consumer"]
