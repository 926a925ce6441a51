"""The incidents worker killed at any moment tells the alerts that an undisturbed run tells, byte for byte."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from schemas.alert import decode_alert
from schemas.dead_letter import DeadLetter
from schemas.topics import ALERTS, DEAD_LETTERS, FINDINGS, INCIDENTS_STATE
from tests.stream_jobs.conftest import eventually
from tests.stream_jobs.findings import findings_log, undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stream_jobs.conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]
PARTITIONS = 2
HOPS = 120


def alerts(broker: Broker) -> dict[tuple[str, int], bytes]:
    """Alerts by id and revision; a revision that came twice must have come with the same bytes."""
    found: dict[tuple[str, int], bytes] = {}
    for key, value in broker.read(ALERTS):
        alert = decode_alert(value or b"")
        assert key == alert.alert_id.encode()
        assert found.setdefault((alert.alert_id, alert.revision), value or b"") == value
    return found


@pytest.mark.slow
def test_kill_9_in_mid_stream_changes_no_alert(broker: Broker, record_property: Callable[[str, object], None]) -> None:
    log = findings_log(HOPS, PARTITIONS)
    expected = undisturbed(log, PARTITIONS)
    assert len(expected) > 150
    draw = random.Random(3)  # noqa: S311 - a repeatable disturbance, no secret
    sender = broker.producer("source")
    sender.init_transactions(20)
    sent = 0
    kills = 0
    worker = broker.start("-m", "stream_jobs.incidents")
    time.sleep(3)
    while sent < len(log):
        size = draw.randrange(5, 60)
        sender.begin_transaction()
        for value in log[sent : sent + size]:
            sender.produce(FINDINGS.name, key=b"k", value=value)
        if draw.random() < 0.25:
            sender.abort_transaction(20)
            continue
        sender.commit_transaction(20)
        sent += size
        time.sleep(0.15)
        if draw.random() < 0.25 and kills < 6:
            worker.send_signal(signal.SIGKILL)
            worker.wait(10)
            kills += 1
            worker = broker.start("-m", "stream_jobs.incidents")
            time.sleep(draw.uniform(0.5, 5))
    record_property("trials", kills)
    assert kills >= 3
    eventually(lambda: len(alerts(broker)) >= len(expected), 60, "the last alert")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0
    assert alerts(broker) == expected


@pytest.mark.parametrize("kept", ["an older state", "none"])
def test_a_state_behind_the_groups_offset_is_caught_up_from_the_log(broker: Broker, kept: str) -> None:
    log = findings_log(30, PARTITIONS)
    quarter, half = len(log) // 4, len(log) // 2
    worker = broker.start("-m", "stream_jobs.incidents")
    broker.send(FINDINGS, [(b"k", value) for value in log[:quarter]])
    eventually(lambda: broker.committed("incidents", FINDINGS) == quarter, what="the first quarter's commit")
    older = broker.read(INCIDENTS_STATE)[-1:] if kept == "an older state" else []
    broker.send(FINDINGS, [(b"k", value) for value in log[quarter:half]])
    eventually(lambda: broker.committed("incidents", FINDINGS) == half, what="the second quarter's commit")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0
    broker.empty(INCIDENTS_STATE)
    broker.send(INCIDENTS_STATE, older)
    broker.send(FINDINGS, [(b"k", value) for value in log[half:]])
    broker.start("-m", "stream_jobs.incidents")
    eventually(lambda: broker.committed("incidents", FINDINGS) == len(log), what="the last commit")
    assert alerts(broker) == undisturbed(log, PARTITIONS)


def test_poison_findings_go_to_the_dead_letters_and_the_alerts_stand(broker: Broker) -> None:
    log = findings_log(20, PARTITIONS)
    poison = [b"not json: a secret", b'{"type":"finding.v9"}', b'{"type":"source_closed.v1","job":"accounts"}', b""]
    mixed = [*log[:30], *poison, *log[30:]]
    broker.send(FINDINGS, [(b"k", value) for value in mixed])
    broker.start("-m", "stream_jobs.incidents")
    eventually(lambda: broker.committed("incidents", FINDINGS) == len(mixed), what="the commit")
    assert alerts(broker) == undisturbed(log, PARTITIONS)
    letters = [msgspec.json.decode(value or b"", type=DeadLetter) for _, value in broker.read(DEAD_LETTERS)]
    assert [(letter.offset, letter.reason) for letter in letters] == [
        (30, "not_json"),
        (31, "unknown_version"),
        (32, "schema"),
        (33, "empty"),
    ]
    assert not any(b"secret" in (value or b"") for _, value in broker.read(DEAD_LETTERS))
