"""Whoever the broker refuses ends with one clear line, has counted it, and says no secret."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from services.adapters.clock import SystemClock, utc_now
from services.adapters.embedded.certificates import Authority
from services.gateway.publishing.counts import DROPPED, REFUSALS, SPOOLED, Counts
from services.gateway.publishing.sending import Sender, kafka_producer
from services.gateway.publishing.spool import Outgoing, open_spool
from tests.integration.security.conftest import EXPIRED, STRANGER, assert_clear, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.security.conftest import TestedKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def changed(case: str, broker: TestedKafka, folder: Path) -> dict[str, str]:
    """Give the settings of one case, over those of a sink that is in order."""
    (folder / "wrong").write_text("not-the-sinks-password", encoding="ascii")
    other = Authority(folder, utc_now() - timedelta(days=1), "other")
    cases = {
        "wrong password": {"STILLWATCH_KAFKA_SASL_PASSWORD_FILE": str(folder / "wrong")},
        "unknown principal": {"STILLWATCH_KAFKA_SASL_USERNAME": "nobody"},
        "expired certificate": {"STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker.ports[EXPIRED]}"},
        "another authority": {"STILLWATCH_KAFKA_SSL_CA": str(other.certificate)},
        "without TLS": {"STILLWATCH_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        "no TLS, no login": {
            "STILLWATCH_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "STILLWATCH_KAFKA_SASL_MECHANISM": "",
        },
        "no rights": broker.environment(STRANGER),
        "another's login": broker.environment("gateway"),
    }
    return cases[case]


CASES = {
    "wrong password": "authentication",
    "unknown principal": "authentication",
    "expired certificate": "tls",
    "another authority": "tls",
    "without TLS": "tls",
    "no TLS, no login": "tls",
    "no rights": "authorization",
    "another's login": "authorization",
}


@pytest.mark.parametrize("case", CASES)
def test_a_process_that_is_refused_counts_it_and_ends_with_one_clear_line(
    case: str, secured: TestedKafka, database_url: str, tmp_path: Path
) -> None:
    environment = {"STILLWATCH_DATABASE_URL": database_url, **secured.environment("sink")}
    with running("sink", tmp_path, environment | changed(case, secured, tmp_path)) as sink:
        sink.await_refusal(CASES[case])
        assert sink.end() == 1
        said = sink.said()
    assert said.count('"event": "process.failed"') == 1, said
    assert f"Kafka refuses this process ({CASES[case]})" in said
    assert_clear(said, [*secured.passwords.values(), "not-the-sinks-password"])


@pytest.mark.parametrize("name", ["accounts", "learning", "relay", "decisions", "subscribers"])
def test_every_kind_of_process_does_so(name: str, secured: TestedKafka, database_url: str, tmp_path: Path) -> None:
    environment = secured.environment(name) | {"STILLWATCH_DATABASE_URL": database_url}
    (tmp_path / "wrong").write_text("not-its-password", encoding="ascii")
    with running(
        name, tmp_path, environment | {"STILLWATCH_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "wrong")}
    ) as process:
        process.await_refusal("authentication")
        assert process.end() in {1, 3}
        said = process.said()
    assert "Kafka refuses this process (authentication)" in said
    assert_clear(said, [*secured.passwords.values(), "not-its-password"])


def test_a_right_that_is_taken_away_ends_a_process_that_had_it(
    secured: TestedKafka, database_url: str, tmp_path: Path
) -> None:
    environment = {"STILLWATCH_DATABASE_URL": database_url, **secured.environment("sink")}
    with running("sink", tmp_path, environment) as sink:
        sink.await_ready("alerts")
        with secured.withheld("sink", "alerts"):
            sink.await_refusal("authorization")
            assert sink.end() == 1
        said = sink.said()
    assert "Kafka refuses this process (authorization)" in said
    assert_clear(said, secured.passwords.values())


@pytest.mark.parametrize(("login", "kind"), [("nobody", "authentication"), ("raw-gateway", "authorization")])
def test_a_gateway_that_is_refused_counts_it_and_keeps_its_events(
    login: str, kind: str, secured: TestedKafka, tmp_path: Path
) -> None:
    config = secured.client("raw-gateway") | {"sasl.username": login}
    counts, clock = Counts(), SystemClock()
    sender = Sender(kafka_producer(config, counts), open_spool(tmp_path / "spool", 1 << 20), counts, clock, 5.0)
    sender.send(Outgoing("requests", b"k", b"{}", []))
    deadline = time.monotonic() + 60
    while not (counts.get(REFUSALS, kind) and sender.away):
        assert time.monotonic() < deadline, counts.values()
        sender.turn()
        time.sleep(0.05)
    assert counts.get(SPOOLED) == 1
    assert counts.total(DROPPED) == 0
    sender.close(1.0)
