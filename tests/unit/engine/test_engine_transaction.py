"""What the writer does with each kind of failure; the broker's own part is tried in tests/integration/engine."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_jobs.engine import transaction
from stream_jobs.engine.errors import CheckpointError, FencedError, PartitionsLostError
from stream_jobs.engine.job import Output
from stream_jobs.engine.transaction import Checkpoint, TransactionalWriter


def _error(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> KafkaError:
    return KafkaError(code, "", fatal, retriable, abortable)


ABORTABLE = _error(KafkaError.ILLEGAL_GENERATION, abortable=True)
EXPELLED = _error(KafkaError.UNKNOWN_MEMBER_ID, abortable=True)
PASSING = _error(KafkaError._TIMED_OUT, retriable=True)
FINAL = _error(KafkaError.INVALID_TXN_STATE)
FENCED = _error(KafkaError._FENCED, fatal=True)
CHECKPOINT = Checkpoint(
    "state",
    [Output("out", b"v", b"k", 2)],
    [(1, [b"a", b"b"], [b"1", None])],
    [TopicPartition("in", 1, 5)],
)
SENT = [("out", b"v", b"k", 2), ("state", b"1", b"a", 1), ("state", None, b"b", 1)]


class Scripted:
    """Plays librdkafka's producer: each call may fail first with the errors written for its name."""

    script: dict[str, list[KafkaError]]

    def __init__(self, config: dict[str, Any], **_: Any) -> None:
        self.config = config
        self.calls: list[Any] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.script.get(name):
            raise KafkaException(self.script[name].pop(0))

    def init_transactions(self, _: float) -> None:
        self._call("init")

    def begin_transaction(self) -> None:
        self._call("begin")

    def produce(self, *record: Any) -> None:
        self.calls.append(record)

    def poll(self, _: float) -> None:
        """Serve nothing."""

    def flush(self, _: float) -> int:
        self._call("flush")
        return 0

    def send_offsets_to_transaction(self, *_: Any) -> None:
        self._call("offsets")

    def commit_transaction(self, _: float) -> None:
        self._call("commit")

    def abort_transaction(self, _: float) -> None:
        self._call("abort")


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> TransactionalWriter:
    Scripted.script = {}
    monkeypatch.setattr(transaction, "Producer", Scripted)
    monkeypatch.setattr("stream_jobs.engine.transaction.time.sleep", lambda _: None)
    return TransactionalWriter({}, "stillwatch-test-0")


def calls(writer: TransactionalWriter) -> list[Any]:
    found: list[Any] = writer._producer.calls  # type: ignore[attr-defined]  # the scripted one
    return found


def test_everything_is_in_the_log_before_the_offsets_go(writer: TransactionalWriter) -> None:
    writer.commit(CHECKPOINT, object)
    assert calls(writer) == ["init", "begin", *SENT, "flush", "offsets", "commit"]


def test_an_aborted_attempt_is_sent_again_as_it_was(writer: TransactionalWriter) -> None:
    generations = iter(range(9))
    Scripted.script = {"offsets": [ABORTABLE], "abort": [PASSING], "commit": [PASSING, PASSING]}
    writer.commit(CHECKPOINT, lambda: next(generations))
    attempt = ["begin", *SENT, "flush", "offsets"]
    assert calls(writer) == ["init", *attempt, "abort", "abort", *attempt, "commit", "commit", "commit"]
    assert next(generations) == 2, "each attempt asks for the generation of its time"


def test_a_transaction_that_never_succeeds_is_left_aborted(writer: TransactionalWriter) -> None:
    Scripted.script = {"offsets": [ABORTABLE] * 99}
    with pytest.raises(CheckpointError, match="6 times"):
        writer.commit(CHECKPOINT, object)
    assert calls(writer)[-1] == "abort"
    assert "commit" not in calls(writer)


def test_a_worker_that_the_group_dropped_gives_up_at_once(writer: TransactionalWriter) -> None:
    Scripted.script = {"offsets": [EXPELLED]}
    with pytest.raises(PartitionsLostError):
        writer.commit(CHECKPOINT, object)
    assert calls(writer)[-2:] == ["offsets", "abort"]


@pytest.mark.parametrize("error", [ABORTABLE, FINAL])
def test_a_commit_that_fails_is_never_repeated(writer: TransactionalWriter, error: KafkaError) -> None:
    Scripted.script = {"commit": [error]}
    with pytest.raises(CheckpointError, match="not known"):
        writer.commit(CHECKPOINT, object)
    assert calls(writer).count("commit") == 1
    assert "abort" not in calls(writer)


@pytest.mark.parametrize("call", ["begin", "offsets", "commit"])
def test_a_fenced_worker_says_so(writer: TransactionalWriter, call: str) -> None:
    Scripted.script = {call: [FENCED]}
    with pytest.raises(FencedError):
        writer.commit(CHECKPOINT, object)


def test_patience_ends(writer: TransactionalWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 10_000, 7))
    monkeypatch.setattr("stream_jobs.engine.transaction.time.monotonic", lambda: next(seconds))
    Scripted.script = {"commit": [PASSING] * 999}
    with pytest.raises(CheckpointError):
        writer.commit(CHECKPOINT, object)
    assert 10 < calls(writer).count("commit") < 30


def test_a_client_that_never_returns_from_sending_offsets_ends_the_worker(
    writer: TransactionalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(transaction, "_HANGING_SECONDS", 0.05)
    monkeypatch.setattr(Scripted, "send_offsets_to_transaction", lambda *_: release.wait(10))
    try:
        with pytest.raises(CheckpointError, match="does not return"):
            writer.commit(CHECKPOINT, object)
    finally:
        release.set()
    assert calls(writer)[-1] == "flush", "neither aborted nor committed: only the log can tell"
