"""Work goes to the publisher process in its order and within bounds, and nothing is lost where that process dies."""

from __future__ import annotations

import json
import logging
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.apart.courier import Courier
from services.gateway.apart.frames import Begin, Handed, Incoming, Line, Report, cut, frame
from services.gateway.apart.ledger import Ledger
from services.gateway.apart.process import can_start
from services.gateway.apart.reporting import Lines, Reporter
from services.gateway.apart.works import Received, unpacked
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.intake.batch import VendorBatch
from services.gateway.middleware.exchange import Captured, Exchange
from services.gateway.payload import Payload
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import DROPPED, EVENTS, FAILURES, WAITING, Counts
from services.gateway.publishing.starting import start_publisher
from services.gateway.sketching import EventMaker
from tests.contracts.test_gateway_privacy import litellm_record
from tests.unit.gateway.doubles import IDENTITY, Hands, Kept, publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEADS = msgspec.msgpack.Decoder(Begin | Handed)


def exchange(number: int = 1, text: str = "Tell me of the sea.", **more: Any) -> Exchange:
    made = Exchange(
        api="chat",
        natural_id=("p", str(number)),
        account_raw="sk-one",
        started_ms=1_700_000_000_000,
        status=200,
        request=Captured(1 << 20),
        response=Captured(1 << 20),
        **more,
    )
    made.request.add(json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode())
    return made


@given(
    bodies=st.lists(st.lists(st.binary(max_size=40), max_size=4), min_size=1, max_size=6),
    piece=st.integers(1, 90),
)
def test_frames_are_put_together_from_any_pieces(bodies: list[list[bytes]], piece: int) -> None:
    heads = [
        Handed(number, "exchange", b"x" * number, [len(part) for part in parts], hurry=False)
        for number, parts in enumerate(bodies)
    ]
    data = b"".join(b"".join(frame(head, parts)) for head, parts in zip(heads, bodies, strict=True))
    incoming: Incoming[Any] = Incoming(HEADS)
    found = [each for at in range(0, len(data), piece) for each in incoming.feed(data[at : at + piece])]
    assert [head for head, _ in found] == heads
    assert [cut(body, head.sizes) for head, body in found] == bodies


def test_a_frame_of_many_chunks_is_few_buffers() -> None:
    parts = [b"data: x\n\n"] * 5000
    buffers = frame(Handed(1, "exchange", b"", [len(part) for part in parts], hurry=False), parts)
    assert len(buffers) == 2
    assert buffers[1] == b"".join(parts)


def test_heads_show_nothing_of_what_they_hold() -> None:
    shown = repr(Begin({"STILLWATCH_HMAC_KEY": "zebrafish"}, "/x", 1)) + repr(
        Handed(1, "exchange", b"zebrafish", [], hurry=False)
    )
    assert "zebrafish" not in shown


def works() -> list[Any]:
    streamed = exchange(2, event_stream=True, first_chunk_ms=7, error="TimeoutError", response_encoding="gzip")
    for _ in range(3):
        streamed.response.add(b"data: {}\n\n")
    long = exchange(3, organization_raw="acme", client_address="203.0.113.9", user_agent="OpenAI/1")
    long.response = Captured(4)
    long.response.add(b"too long")
    surrogate = {**litellm_record(), "note": "\ud800", "number": 10**30, "object": object()}
    return [
        exchange(),
        streamed,
        long,
        VendorBatch("jsonl", b'{"time": 1700000000, "account": "a", "prompt": "Tell me of the sea."}', "p"),
        Payload(litellm_record(), 100),
        Payload(surrogate, 100),
        Payload({**litellm_record(), "object": object()}, 100),
    ]


@pytest.mark.parametrize("place", range(len(works())))
def test_work_makes_the_same_events_on_the_other_side(place: int) -> None:
    work = works()[place]
    kind, told, parts = work.pack()
    head = Handed(9, kind, told, [len(part) for part in parts], hurry=True)
    received = unpacked(head, b"".join(parts))
    assert (received.number, received.hurry, received.format, received.size) == (9, True, work.format, work.size)
    assert list(received.events(EventMaker(IDENTITY))) == list(work.events(EventMaker(IDENTITY)))
    assert received.pack()[1:] == (told, parts)


def test_the_configuration_goes_over_whole() -> None:
    made = GatewayConfiguration(
        hmac_key=Secret("k" * 40),
        kafka_sasl_password=Secret("p"),
        kafka_ssl_ca=Path("/ca.pem"),
        gateway_routes=(("/generate", "completions"),),
        gateway_account_headers=("x-consumer",),
        gateway_stall_seconds=1.5,
        gateway_enforce=False,
        gateway_publisher="thread",
        base_dir=Path("/base"),
    )
    again = GatewayConfiguration.from_environment(made.as_environment())
    assert again.hmac_key is not None
    assert again.kafka_sasl_password is not None
    assert again.hmac_key.get_secret_value() == "k" * 40
    assert again.kafka_sasl_password.get_secret_value() == "p"
    hidden = {"hmac_key": None, "kafka_sasl_password": None}
    assert replace(again, **hidden) == replace(made, **hidden)


def test_the_ledger_is_bounded_until_events_are_safe() -> None:
    ledger = Ledger(3, 100_000)
    assert [ledger.offer(exchange(number)) for number in range(4)] == [True, True, True, False]
    assert [entry.number for entry in (ledger.send(), ledger.send()) if entry] == [1, 2]
    assert not ledger.offer(exchange())  # Sent is not safe.
    ledger.settle(1)
    assert ledger.offer(exchange())
    ledger.rewind()
    sent = []
    while entry := ledger.send():
        sent.append(entry.number)
    assert sent == [2, 3, 4]
    assert ledger.last_sent == 4
    assert not Ledger(3, 1000).offer(exchange())  # Its bytes are bounded too.
    ledger.settle(4)
    assert len(ledger) == 0
    assert ledger.close() == []
    assert not ledger.offer(exchange())


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


def test_work_that_kills_every_process_is_dropped_alone(caplog: pytest.LogCaptureFixture) -> None:
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


class FakeSender:
    sequence = confirmed = 0


class Reports:
    """A reporter, and what it said."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(0)
        self.clock, self.counts, self.lines = Hands(), Counts(), Lines()
        self.buffer = WorkBuffer(10, 1 << 20)
        self.reporter = Reporter(theirs, self.counts, self.buffer, self.lines, self.clock)
        self._theirs = theirs
        self._incoming = Incoming(msgspec.msgpack.Decoder(Report))

    def read(self) -> list[Report]:
        try:
            return [report for report, _ in self._incoming.feed(self.ours.recv(1 << 20))]
        except BlockingIOError:
            return []

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


def test_work_is_safe_when_its_records_and_all_before_them_are() -> None:
    case, sender = Reports(), FakeSender()
    turned: Any = case.reporter.turned
    turned(None, None)
    assert case.read() == [Report(0, 0)]
    for number in (1, 2, 3):
        sender.sequence = number
        turned(Received(number, hurry=False, work=exchange()), sender)
    assert case.read() == []  # Not for each piece of work.
    case.clock.now += 1
    sender.confirmed = 2
    case.counts.add(EVENTS, "chat", amount=3)
    case.counts.put(WAITING, "kafka", value=1)
    turned(None, sender)
    (report,) = case.read()
    assert (report.taken, report.safe) == (3, 2)
    assert report.counters == [(EVENTS, ("chat",), 3)]
    assert report.gauges == [(WAITING, ("kafka",), 1)]
    case.clock.now += 1
    sender.confirmed = 3
    case.counts.add(EVENTS, "chat")
    turned(Received(4, hurry=True, work=exchange()), sender)
    (report,) = case.read()
    assert (report.taken, report.safe, report.counters) == (4, 4, [(EVENTS, ("chat",), 1)])
    case.close()


def test_a_line_is_told_by_its_event_and_plain_fields_alone() -> None:
    case = Reports()
    logger = logging.getLogger("stillwatch.gateway")
    logger.addHandler(case.lines)
    try:
        raise ValueError("the zebrafish said so")  # noqa: TRY301 - to have one in hand
    except ValueError as error:
        logger.exception("publisher.failed", extra={"where": "events", "error": error})
    finally:
        logger.removeHandler(case.lines)
    case.reporter.turned(None, None)
    (report,) = case.read()
    assert report.lines == [Line(logging.ERROR, "publisher.failed", {"where": "events"})]
    case.close()


def test_a_server_that_does_not_read_delays_nothing_and_is_told_all_later() -> None:
    case = Reports()
    for _ in range(30_000):
        case.clock.now += 1
        case.counts.add(EVENTS, "chat")
        case.reporter.turned(None, None)
    total = 0
    for _ in range(400):
        case.clock.now += 1
        case.reporter.turned(None, None)
        total += sum(amount for report in case.read() for _, _, amount in report.counters)
    assert total == 30_000
    case.ours.close()
    case.counts.add(EVENTS, "chat")
    case.reporter.finish()  # Nobody is there, and it ends all the same.
    case.close()


def test_a_frozen_application_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_start()
    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert not can_start()
    made, _ = start_publisher(GatewayConfiguration(hmac_key=Secret("k" * 40)), Hands(), "/gateway/test", start=False)
    assert type(made).__name__ == "Publisher"
