"""The publisher process tells what is safe, what was counted and what is for the log, and never waits to be heard."""

from __future__ import annotations

import logging
import socket
from typing import Any

import msgspec

from services.gateway.apart.frames import Incoming, Line, Report
from services.gateway.apart.reporting import Lines, Reporter
from services.gateway.apart.works import Received
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import EVENTS, WAITING, Counts
from tests.unit.gateway.doubles import Hands, exchange


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
