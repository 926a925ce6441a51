"""The Faust host against a real broker: what it reads, what it commits, how it ends."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from schemas.dead_letter import DeadLetter
from schemas.topics import ALERTS, DEAD_LETTERS, FINDINGS
from tests.stream_jobs.conftest import ROOT, eventually

if TYPE_CHECKING:
    from tests.stream_jobs.conftest import Broker

PLAIN = Path(__file__).parent / "workers" / "plain.py"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def copied(broker: Broker) -> list[bytes | None]:
    return [value for _, value in broker.read(ALERTS)]


def test_an_aborted_transaction_is_never_read_and_commits_pass_the_holes_that_transactions_leave(
    broker: Broker,
) -> None:
    # Offset 0 is a record, 1 its marker, 2-4 aborted with the marker 4: Faust's own gap list loses sight of a gap that
    # follows offset 0 and would commit 1 for ever.
    broker.transact(FINDINGS, [b"first"])
    broker.transact(FINDINGS, [b"aborted-1", b"aborted-2"], commit=False)
    broker.transact(FINDINGS, [b"second"])
    worker = broker.start(str(PLAIN))
    eventually(lambda: len(copied(broker)) == 2, what="two copies")
    for round_ in range(3):
        broker.transact(FINDINGS, [b"x%d" % round_, b"y%d" % round_])
        broker.transact(FINDINGS, [b"aborted"] * (round_ + 1), commit=False, name="other")
    eventually(lambda: len(copied(broker)) == 8, what="eight copies")
    # 2 + 3 + 2, then each round 3 + (round + 2): the last record is followed by its marker and the aborted round.
    last_record = 7 + (3 + 2) + (3 + 3) + 1
    eventually(lambda: broker.committed("plain", FINDINGS) == last_record + 1, 15, "the commit past the holes")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0
    assert copied(broker) == [b"first", b"second", b"x0", b"y0", b"x1", b"y1", b"x2", b"y2"]


def test_a_bug_ends_the_process_within_seconds_and_the_record_comes_again(broker: Broker) -> None:
    broker.send(FINDINGS, [(b"k", b"before"), (b"k", b"crash"), (b"k", b"after")])
    worker = broker.start(str(PLAIN))
    eventually(lambda: b"before" in copied(broker), what="the first record")
    started = time.monotonic()
    assert worker.wait(20) == 1
    assert time.monotonic() - started < 12
    assert broker.committed("plain", FINDINGS) == 1
    assert copied(broker) == [b"before"]


def test_a_loop_that_sticks_is_ended_on_sigterm(broker: Broker) -> None:
    broker.send(FINDINGS, [(b"k", b"before"), (b"k", b"hang"), (b"k", b"after")])
    worker = broker.start(str(PLAIN), TOY_STOP_SECONDS="2")
    eventually(lambda: b"before" in copied(broker), what="the first record")
    time.sleep(1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 1


def test_a_poison_record_goes_to_the_dead_letters_without_its_text_and_the_rest_goes_on(broker: Broker) -> None:
    broker.send(FINDINGS, [(b"k", b"good"), (b"k", b"poison: a secret"), (b"k", b"also good")])
    broker.start(str(PLAIN))
    eventually(lambda: len(copied(broker)) == 2, what="two copies")
    eventually(lambda: broker.committed("plain", FINDINGS) == 3, 15, "the commit")
    ((key, value),) = broker.read(DEAD_LETTERS)
    letter = msgspec.json.decode(value or b"", type=DeadLetter)
    assert key == b"findings"
    assert (letter.topic, letter.partition, letter.offset, letter.reason) == ("findings", 0, 1, "schema")
    assert (letter.job, letter.schema, letter.size) == ("plain", "toy.v1", 16)
    assert letter.time_unix_ms > 1_600_000_000_000
    assert b"secret" not in (value or b"")


def test_health_tells_assignment_recovery_and_lag(broker: Broker) -> None:
    port = free_port()
    broker.transact(FINDINGS, [b"one", b"two"])
    broker.start(str(PLAIN), STILLWATCH_METRICS_PORT=str(port))
    eventually(lambda: ready(port)[0], what="readiness")
    # The marker at the end counts for nothing.
    eventually(lambda: ready(port)[1]["lag"]["detail"] == "0 records behind", 20, "the end of the lag")
    status, checks = ready(port)
    assert status
    # Faust would keep a data directory where the worker was started.
    assert not list(ROOT.glob("stillwatch-*-data"))
    assert checks["assigned"]["detail"] == "1 partitions"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read().decode()
    assert 'stillwatch_events_total{job="plain"} 2.0' in text
    assert 'stillwatch_consumer_lag{job="plain",partition="0",topic="findings"} 0.0' in text


def ready(port: int) -> tuple[bool, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as page:
            return True, json.load(page)["checks"]
    except urllib.error.HTTPError as error:
        return False, json.load(error)["checks"]
    except OSError:
        return False, {}


def free_port() -> int:
    import socket

    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
