"""The other two workers as their commands start them, on a real broker: what goes in, what comes out, a kill -9."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from schemas.alert import decode_alert
from schemas.dead_letter import DeadLetter
from schemas.label import Label
from schemas.model_version import ModelVersion
from schemas.request_event import RequestEvent
from schemas.topics import ALERTS, DEAD_LETTERS, LABELS, MODELS, RAW_LITELLM, REQUESTS
from services.gateway.identity import Identity
from tests.stream_jobs.conftest import eventually
from tests.stream_jobs.findings import findings_log, undisturbed

if TYPE_CHECKING:
    from schemas.alert import Alert
    from tests.stream_jobs.conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]
KEY = "k" * 40


def label(number: int, on: Alert, verdict: str) -> bytes:
    return msgspec.json.encode(
        Label(
            label_id=f"label-{number}",
            alert_id=on.alert_id,
            alert_revision=on.revision,
            subject_kind=on.subject_kind,
            subject=on.subject,
            verdict=verdict,  # type: ignore[arg-type] # one of the verdicts
            reason="seen",
            actor="analyst",
            labelled_at="2026-01-02T03:04:05.000Z",
            config_version="test",
        )
    )


def test_labels_become_versions_once_each_also_after_kill_9(broker: Broker) -> None:
    raised = [decode_alert(raw) for raw in undisturbed(findings_log(30, 2), 2).values()]
    broker.send(ALERTS, [(each.alert_id.encode(), msgspec.json.encode(each)) for each in raised])
    verdicts = ["true_positive", "false_positive", "benign"]
    labels = [label(number, each, verdicts[number % 3]) for number, each in enumerate(raised[:12])]
    learning = broker.start("-m", "stream_jobs.learning")
    broker.send(LABELS, [(b"k", raw) for raw in labels[:6]])
    eventually(lambda: versions(broker)[-1:] == [6], what="six versions")
    learning.send_signal(signal.SIGKILL)
    learning.wait(10)
    broker.send(LABELS, [(b"k", raw) for raw in [*labels[6:], labels[2], b"no label"]])
    broker.start("-m", "stream_jobs.learning")
    eventually(lambda: broker.committed("learning", LABELS) == 14, what="the learning job's commit")
    assert versions(broker)[-1] == 12
    assert versions(broker) == sorted(versions(broker))
    letters = [msgspec.json.decode(raw or b"", type=DeadLetter) for _, raw in broker.read(DEAD_LETTERS)]
    assert {(each.job, each.offset, each.reason) for each in letters} == {
        ("learning", 13, "not_json"),
    }


def versions(broker: Broker) -> list[int]:
    return [msgspec.json.decode(raw or b"", type=ModelVersion).version for _, raw in broker.read(MODELS)]


def test_raw_records_become_events_and_every_other_a_dead_letter(broker: Broker) -> None:
    identity = Identity(KEY.encode())
    raw = {
        "model": "gpt-x",
        "startTime": 1_760_000_000.0,
        "endTime": 1_760_000_001.0,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "messages": [{"role": "user", "content": "the canary prompt of this test"}],
    }
    records = [
        raw | {"id": f"call-{number}", "metadata": {"user_api_key_hash": f"user-{number % 7}"}} for number in range(700)
    ]
    broker.send(RAW_LITELLM, [(None, msgspec.json.encode(each)) for each in records])
    nobody = msgspec.json.encode(raw | {"id": "call-x", "metadata": {"user_api_key_hash": ""}})
    broker.send(RAW_LITELLM, [(None, b"{broken: the canary prompt"), (None, nobody)])
    worker = broker.start("-m", "services.cli.main", "worker", "normalise", STILLWATCH_HMAC_KEY=KEY)
    eventually(lambda: len(broker.read(REQUESTS)) == 700, what="700 events")
    eventually(lambda: len(broker.read(DEAD_LETTERS)) == 2, what="two dead letters")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0
    sent = broker.read(REQUESTS)
    events = [msgspec.json.decode(value or b"", type=RequestEvent) for _, value in sent]
    assert len({each.event_id for each in events}) == 700
    assert {each.account for each in events} == {identity.account(f"user-{number}") for number in range(7)}
    assert sum(broker.committed("normalise", RAW_LITELLM, partition) for partition in range(2)) == 702
    reasons = {msgspec.json.decode(value or b"", type=DeadLetter).reason for _, value in broker.read(DEAD_LETTERS)}
    assert reasons == {"not_json", "null_key"}
    assert not any(b"canary" in (value or b"") for _, value in sent + broker.read(DEAD_LETTERS))
