"""From a gateway's login to a row in the database: each process under its own principal, on a broker that asks."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.security.conftest import assert_clear, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.security.conftest import TestedKafka

# The gateway's part is played by sample traffic, through the producer and the topics that a gateway has.
PROCESSES = ("accounts", "pools", "incidents", "learning", "sink", "relay", "decisions", "subscribers", "gateway")
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


def test_traffic_becomes_an_alert_under_the_rights_of_the_table(
    secured: TestedKafka, database_url: str, tmp_path: Path
) -> None:
    database = {"STILLWATCH_DATABASE_URL": database_url}
    with ExitStack() as stack:
        jobs = {
            name: stack.enter_context(running(name, tmp_path, secured.environment(name) | database))
            for name in PROCESSES
        }
        deadline = time.monotonic() + 300
        with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
            while not connection.execute("SELECT count(*) FROM alerts").fetchone()[0]:
                assert time.monotonic() < deadline, {name: job.said()[-1500:] for name, job in jobs.items()}
                for name, job in jobs.items():
                    assert job.process.poll() is None, (name, job.said())
                time.sleep(0.5)
        for name, job in jobs.items():
            assert sum(job.refusals(kind) for kind in ("authentication", "tls", "authorization")) == 0, name
        for name, job in jobs.items():
            assert job.end() == 0 or name == "gateway", (name, job.said())
            assert_clear(job.said(), secured.passwords.values())
