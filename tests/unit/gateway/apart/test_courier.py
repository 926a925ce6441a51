"""Work is handed over in its order and within bounds, and nothing is lost where the publisher process dies."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from services.gateway.apart.courier import Courier
from services.gateway.apart.frames import Begin, Handed, Incoming, Line, Report, frame
from services.gateway.apart.ledger import Ledger
from services.gateway.middleware.exchange import Exchange
from services.gateway.publishing.counts import DROPPED, EVENTS, FAILURES, WAITING, Counts
from tests.unit.gateway.doubles import Hands, Kept, exchange, publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEADS = msgspec.msgpack.Decoder(Begin | Handed)


class Child:
    """A publisher process in memory: ``behave`` says for each piece of work whether it is done, or kills."""

    def __init__(self, behave: Callable[[Handed], bool], log: list[int]) -> None:
        self._behave, self._log = behave, log
        self._ours, self._theirs = socket.socketpair()
        for each in (self._ours, self._theirs):
            each.settimeout(0)
        self._incoming: Incoming[Any] = Incoming(HEADS)
        self.full, self.idle, self.dead = False, True, False
        self._theirs.send(b"".join(frame(Report(0, 0))))
        self._reports: Incoming[Report] = Incoming(msgspec.msgpack.Decoder(Report))

    def fileno(self) -> int:
        return self._ours.fileno()

    def put(self, buffers: Iterable[bytes]) -> None:
        for head, _ in self._incoming.feed(b"".join(buffers)):
            if self.dead:
                return
            if not self._behave(head):
                self.dead = True
                self._theirs.close()
                return
            self._log.append(head.number)
            counted = [(EVENTS, ("chat",), 1)]
            self._theirs.send(b"".join(frame(Report(head.number, head.number, counted, [(WAITING, ("kafka",), 1)]))))

    def flush(self) -> None:
        if self.dead:
            raise BrokenPipeError

    def receive(self) -> list[Report] | None:
        try:
            data = self._ours.recv(1 << 20)
        except BlockingIOError:
            return []
        return [report for report, _ in self._reports.feed(data)] if data else None

    def finish(self) -> None:
        self._theirs.close()

    def bury(self, _: float) -> int:
        self._ours.close()
        self._theirs.close()
        return 0


def courier(spawn: Callable[[], Any], *, maximum: int = 1000, kept: Kept | None = None) -> Courier:
    clock = Hands()
    clock.monotonic = time.monotonic  # type: ignore[method-assign]  # its thread waits in real time
    return Courier(spawn, Ledger(maximum, 1 << 24), Counts(), clock, lambda: publisher(kept or Kept()), lambda: None)


def settle(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_work_is_handed_over_in_order_and_counted_as_the_process_tells() -> None:
    log: list[int] = []
    made = courier(lambda: Child(lambda _: True, log))
    made.start()
    made.start()  # A second call does nothing.
    assert all(made.offer(exchange(number)) for number in range(50))
    made.stop()
    assert log == list(range(1, 51))
    assert made.counts.get(EVENTS, "chat") == 50
    assert made.counts.get(WAITING, "kafka") == 1
    assert made.counts.total(DROPPED) == made.counts.total(FAILURES) == 0


def test_what_does_not_fit_is_dropped_and_counted_at_once() -> None:
    made = courier(lambda: Child(lambda _: True, []), maximum=2)
    assert [made.offer(exchange(number)) for number in range(3)] == [True, True, False]
    assert made.counts.get(DROPPED, "buffer_full") == 1


def test_a_process_that_dies_is_followed_by_one_that_gets_what_was_not_safe() -> None:
    log: list[int] = []
    deaths = iter([5])

    def behave(head: Handed) -> bool:
        return head.number != 5 or next(deaths, None) is None

    made = courier(lambda: Child(behave, log))
    made.start()
    for number in range(20):
        made.offer(exchange(number))
    made.stop()
    assert log == list(range(1, 21))
    assert made.counts.get(FAILURES, "process") == 1
    assert made.counts.total(DROPPED) == 0


def test_work_that_kills_every_process_is_dropped_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.apart.courier._BACKOFF_SECONDS", (0.0, 0.01))
    log: list[int] = []
    made = courier(lambda: Child(lambda head: head.number != 3, log))
    for number in range(6):
        made.offer(exchange(number, "the zebrafish said so"))
    made.start()
    settle(lambda: made.counts.total(DROPPED) > 0 and log[-1] == 6)
    made.stop()
    assert sorted(set(log)) == [1, 2, 4, 5, 6]
    assert len(log) == 5
    assert made.counts.get(DROPPED, "killed_publisher") == 1
    assert "zebrafish" not in caplog.text


def test_where_no_process_starts_the_work_is_done_in_a_thread() -> None:
    def spawn() -> Any:
        raise PermissionError

    kept = Kept()
    made = courier(spawn, kept=kept)
    made.start()
    for number in range(5):
        made.offer(exchange(number))
    settle(lambda: made._instead is not None)
    made.offer(exchange(5))
    made.stop()
    assert len(kept.records) == 6
    assert made.counts.get(FAILURES, "process") == 3
    assert kept.closed


@pytest.mark.parametrize(("code", "thread"), [(1, True), (-11, False)])
def test_a_process_that_a_signal_ended_is_never_followed_by_a_thread(
    monkeypatch: pytest.MonkeyPatch, code: int, *, thread: bool
) -> None:
    monkeypatch.setattr("services.gateway.apart.courier._BACKOFF_SECONDS", (0.0,))
    spawned: list[int] = []

    class Stillborn(Child):
        def __init__(self) -> None:
            super().__init__(lambda _: True, [])
            spawned.append(1)
            self._ours.recv(1 << 16)  # Its word is not heard.
            self._theirs.close()

        def bury(self, seconds: float) -> int:
            super().bury(seconds)
            return code

    kept = Kept()
    made = courier(Stillborn, kept=kept)
    made.offer(exchange())
    made.start()
    settle(lambda: len(spawned) > 6 or made._instead is not None)
    assert (made._instead is not None) == thread
    made.stop(0.2)
    assert len(kept.records) == thread


def test_work_that_cannot_be_packed_stands_before_nobody() -> None:
    class Broken(Exchange):
        def pack(self) -> tuple[str, bytes, list[bytes]]:
            raise ValueError("the zebrafish said so")

    log: list[int] = []
    made = courier(lambda: Child(lambda _: True, log))
    broken = Broken(api="chat", natural_id=("x",), account_raw="a")
    for work in (exchange(1), broken, exchange(2)):
        made.offer(work)
    made.start()
    made.stop()
    assert log == [1, 3]
    assert made.counts.get(FAILURES, "events") == 1


def test_what_no_process_took_before_the_end_is_counted() -> None:
    class Full(Child):
        def __init__(self) -> None:
            super().__init__(lambda _: True, [])
            self.full = True

    made = courier(Full)
    made.offer(exchange())
    made.start()
    made.stop(0.1)
    settle(lambda: made.counts.get(DROPPED, "unsent") == 1)


def test_a_process_that_says_nothing_for_long_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.apart.courier._SILENT_SECONDS", 0.0)
    log: list[int] = []

    class Silent(Child):
        def put(self, buffers: Iterable[bytes]) -> None:
            """Take everything, and say nothing."""

    children = iter([Silent, Silent])
    made = courier(lambda: next(children, Child)(lambda _: True, log))
    made.offer(exchange())
    made.start()
    settle(lambda: log[:1] == [1])
    made.stop()
    assert made.counts.get(FAILURES, "process") >= 2


def test_lines_of_the_process_are_lines_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    class Talking(Child):
        def put(self, buffers: Iterable[bytes]) -> None:
            told = Line(logging.WARNING, "publisher.kafka_away", {"why": "no_answer"})
            self._theirs.send(b"".join(frame(Report(0, 0, lines=[told]))))
            super().put(buffers)

    made = courier(lambda: Talking(lambda _: True, []))
    made.offer(exchange())
    made.start()
    made.stop()
    (record,) = [each for each in caplog.records if each.msg == "publisher.kafka_away"]
    assert record.why == "no_answer"  # type: ignore[attr-defined]  # what was said beside it
