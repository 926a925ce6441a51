"""The host's parts that need no broker: the limit on invalid records, the views, the deadline, the transport's name."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
from faust.transport import drivers

from detection.config import DetectionConfig
from detection.incidents.step import IncidentsStep
from schemas.dead_letter import DeadLetter, name_failure
from schemas.topics import ALERTS, DEAD_LETTERS, ENTITLEMENTS
from services.settings import Settings
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host import worker
from stream_jobs.faust_host.alerts_view import AlertsView
from stream_jobs.faust_host.app import make_app
from stream_jobs.faust_host.host import JobDeadLetters
from stream_jobs.faust_host.memory import MemoryBroker
from stream_jobs.faust_host.ports import Record, TooManyInvalidError
from stream_jobs.faust_host.transport import SCHEME, CommittedTransport
from stream_jobs.faust_host.views import EntitlementsView
from tests.stream_jobs.findings import findings_log, undisturbed

RECORD = Record("findings", 0, 7, b"k", b"a value", 1_700_000_000_000)


def test_a_dead_letter_names_the_record_and_holds_nothing_of_it() -> None:
    broker = MemoryBroker()
    letters = JobDeadLetters("job", broker, Metrics(), 0.5)
    asyncio.run(letters.reject(RECORD, "schema", "not valid at $", "toy.v1"))
    (raw,) = broker.values(DEAD_LETTERS)
    assert msgspec.json.decode(raw, type=DeadLetter) == DeadLetter(
        topic="findings",
        partition=0,
        offset=7,
        reason="schema",
        detail="not valid at $",
        schema="toy.v1",
        size=7,
        time_unix_ms=1_700_000_000_000,
        job="job",
    )


def test_too_many_invalid_records_stop_the_job_after_the_first_thousand() -> None:
    async def reject(seen: int, times: int) -> None:
        letters = JobDeadLetters("job", MemoryBroker(), Metrics(), 0.5)
        letters.seen = seen
        for _ in range(times):
            await letters.reject(RECORD, "schema", "", "")

    asyncio.run(reject(999, 900))
    asyncio.run(reject(1000, 500))
    with pytest.raises(TooManyInvalidError, match="501 of 1000"):
        asyncio.run(reject(1000, 501))


def test_an_alerts_view_gives_the_nearest_revision_and_forgets_what_grew_least_recently() -> None:
    alerts = undisturbed(findings_log(60, 1), 1)
    grown = max(alerts, key=lambda name: name[1])
    assert grown[1] > 1
    broker = MemoryBroker()
    for (alert_id, _), raw in sorted(alerts.items(), key=lambda item: item[0][1]):
        broker.append(ALERTS.name, alert_id.encode(), raw)
    broker.append(ALERTS.name, b"k", b"unreadable")

    async def ask() -> None:
        view = AlertsView(broker, lambda alert: alert.revision)
        assert await view.find(*grown) == grown[1]
        assert await view.find(grown[0], grown[1] + 5) == grown[1]
        assert await view.find(grown[0], 1) == 1
        assert await view.find(grown[0], 0) is None
        assert await view.find("unknown", 1) is None
        small = AlertsView(broker, lambda alert: alert.revision, maximum=1)
        assert await small.find(*grown) == grown[1]
        assert [await small.find(alert_id, 1) for alert_id, _ in alerts if alert_id != grown[0]].count(None) > 1

    asyncio.run(ask())


def test_an_unreadable_entitlement_is_passed_over_and_the_rest_stands() -> None:
    broker = MemoryBroker()
    broker.append(ENTITLEMENTS.name, b"k", b"unreadable")
    view = EntitlementsView(broker)
    assert asyncio.run(view.catch_up()) == []
    assert not view.covers("0" * 16, "0" * 16, 0)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"{", "not_json"),
        (b"\xff", "not_json"),
        (b'{"type":"a whole sentence of text"}', "unknown_version"),
        (b'{"type":"dead_letter.v1","topic":5}', "schema"),
    ],
)
def test_failures_are_named_without_values(raw: bytes, reason: str) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as caught:
        msgspec.json.decode(raw, type=DeadLetter)
    named, detail = name_failure(caught.value, raw)
    assert named == reason
    assert "sentence" not in detail


def test_the_deadline_ends_a_stop_that_takes_too_long_and_leaves_a_running_process_alone() -> None:
    class Service:
        crashed = False

    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    deadline = worker.Deadline(Service(), 0.01, end).start()
    assert not ended.wait(0.6)
    deadline.stopping()
    assert ended.wait(5)
    assert codes == [1]


def test_the_app_reads_by_our_transport_and_makes_no_topic() -> None:
    app = make_app("toy", Settings(kafka_bootstrap_servers="a:1, b:2"))
    app.finalize()
    assert [str(url) for url in app.conf.broker] == [f"{SCHEME}://a:1", f"{SCHEME}://b:2"]
    assert drivers.by_url(app.conf.broker[0]) is CommittedTransport
    assert app.conf.topic_allow_declare is False
    assert app.conf.topic_disable_leader is True
    assert app.conf.web_enabled is False
    assert app.conf.agent_supervisor.__name__ == "CrashingSupervisor"
    assert app.conf.id == "stillwatch-toy"


@pytest.mark.parametrize("session_ms", [10_000, 60_000, 600_000])
def test_a_session_is_never_longer_than_a_request_may_last_or_faust_refuses_to_start(session_ms: int) -> None:
    conf = make_app("toy", Settings(kafka_bootstrap_servers="127.0.0.1:1", session_timeout_ms=session_ms)).conf
    assert conf.broker_session_timeout == session_ms / 1000
    assert conf.broker_session_timeout <= conf.broker_request_timeout


def test_the_step_that_the_worker_runs_has_what_the_job_asks_for() -> None:
    step = IncidentsStep(DetectionConfig(), 1, 1)
    again = IncidentsStep(DetectionConfig(), 1, 1)
    again.load(step.state())
    assert again.closed_hop == step.closed_hop == -1
