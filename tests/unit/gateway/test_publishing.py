"""Events reach the broker in their order, once it is there, and nothing that waits is lost within the bounds."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import ConfigurationError
from services.gateway.configuration import GATEWAY_SETTINGS, GatewayConfiguration
from services.gateway.parsed import RejectedRecord
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import DROPPED, FAILURES, REJECTS, SHAPES, SPOOLED, WAITING, Counts
from services.gateway.publishing.sending import PROBE_SECONDS, Sender
from services.gateway.publishing.spool import Outgoing, SpoolError, open_spool
from services.telemetry.metrics import METRICS
from tests.unit.gateway.doubles import Broker, Hands, Kept, publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.gateway.publishing.spool import Spool

STALL = 3.0


def record(number: int) -> Outgoing:
    return Outgoing("requests", b"key", b"%d" % number, [("ce_id", b"x")])


class Case:
    """A sender, its broker and its clock."""

    def __init__(self, spool: Spool | None) -> None:
        self.broker, self.clock, self.counts = Broker(), Hands(), Counts()
        self.sender = Sender(self.broker.producer, spool, self.counts, self.clock, STALL)
        self.sent = 0

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            self.sender.send(record(self.sent))
            self.sent += 1

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.sender.turn()

    @property
    def log(self) -> list[int]:
        return [int(value) for value in self.broker.log]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with closing(open_spool(tmp_path / "spool", 1 << 20)) as spool:
        yield Case(spool)


def test_records_go_straight_to_the_broker(case: Case) -> None:
    case.send(3)
    case.sender.turn()
    assert case.log == [0, 1, 2]
    assert case.sender.settled
    assert case.counts.total(SPOOLED) == 0


def test_an_outage_is_waited_out_in_order(case: Case) -> None:
    case.send(3)
    case.sender.turn()
    case.broker.up = False
    case.send(4)
    case.pass_time(STALL + 0.1)
    assert case.sender.away
    case.send(1200)
    for _ in range(20):
        case.pass_time(PROBE_SECONDS)
    assert case.log == [0, 1, 2]
    case.broker.up = True
    case.pass_time(PROBE_SECONDS)
    case.send(5)  # What comes while the spool drains stands behind it.
    while case.sender.busy:
        case.sender.turn()
    case.send(2)
    case.sender.turn()
    assert case.log == list(range(case.sent))
    assert case.counts.total(DROPPED) == 0
    assert case.counts.get(SPOOLED) == 4 + 1200 + 5
    assert case.counts.get(WAITING, "spool_bytes") == 0


def test_an_outage_while_the_spool_drains_loses_and_reorders_nothing(case: Case) -> None:
    case.broker.up = False
    case.send(1100)
    case.pass_time(STALL + 0.1)
    case.broker.up = True
    case.pass_time(PROBE_SECONDS)
    case.broker.up = False
    case.sender.turn()
    assert case.sender.away
    case.send(10)
    case.broker.up = True
    case.pass_time(PROBE_SECONDS)
    while case.sender.busy:
        case.sender.turn()
    assert list(dict.fromkeys(case.log)) == list(range(case.sent))


def test_a_full_spool_drops_the_newest_and_counts(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool", 300)
    case = Case(spool)
    case.broker.up = False
    case.send(100)
    case.pass_time(STALL + 0.1)
    dropped = case.counts.get(DROPPED, "spool_full")
    assert 0 < dropped < 100
    case.broker.up = True
    case.pass_time(PROBE_SECONDS)
    while case.sender.busy:
        case.sender.turn()
    assert case.log == list(range(100 - dropped))
    spool.close()


def test_without_a_spool_an_outage_drops_and_counts() -> None:
    case = Case(None)
    case.broker.up = False
    case.send(5)
    case.pass_time(STALL + 0.1)
    case.send(2)
    assert case.counts.get(DROPPED, "no_spool") == 7
    case.broker.up = True
    case.pass_time(PROBE_SECONDS)
    case.send(1)
    case.sender.turn()
    assert case.log == [7]


def test_the_next_process_sends_what_the_last_one_left(tmp_path: Path) -> None:
    first = Case(open_spool(tmp_path, 1 << 20))
    first.broker.up = False
    first.send(7)
    first.sender.close(0.0)
    second = Case(open_spool(tmp_path, 1 << 20))
    assert second.sender.busy
    second.sender.turn()
    assert second.log == list(range(7))
    second.sender.close(0.0)


def test_processes_share_a_folder_by_slots_and_take_over_those_of_the_dead(tmp_path: Path) -> None:
    one, two = open_spool(tmp_path, 1 << 20), open_spool(tmp_path, 1 << 20)
    two.append(record(1))
    two.close()
    three = open_spool(tmp_path, 1 << 20)
    assert [each.value for each in three.read(10)] == [b"1"]
    one.close()
    three.close()


def test_a_frame_that_a_crash_cut_ends_its_segment_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, 1 << 20)
    spool.append(record(1))
    spool.append(record(2))
    spool.close()
    (segment,) = tmp_path.glob("slot-000/*.events")
    segment.write_bytes(segment.read_bytes()[:-3])
    again = open_spool(tmp_path, 1 << 20)
    again.append(record(3))
    found: list[bytes] = []
    while not again.empty:
        found += [each.value for each in again.read(10)]
        if found:
            again.advance()
    assert found == [b"1", b"3"]
    again.close()


def test_the_spool_is_its_owners_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool", 1 << 20)
    spool.append(record(1))
    (segment,) = (tmp_path / "spool").glob("slot-000/*.events")
    assert segment.stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool" / "slot-000").stat().st_mode & 0o077 == 0
    spool.close()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SpoolError):
        open_spool(tmp_path / "file" / "spool", 1)


@given(steps=st.lists(st.sampled_from(["send", "turn", "down", "up", "second"]), max_size=60))
def test_whatever_happens_the_broker_has_all_in_order_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    spool = open_spool(tmp_path_factory.mktemp("spool"), 1 << 20)
    case = Case(spool)
    for step in steps:
        if step == "send":
            case.send(7)
        elif step in {"down", "up"}:
            case.broker.up = step == "up"
        case.pass_time(1.1 if step == "second" else 0.0)
    case.broker.up = True
    for _ in range(20):
        case.pass_time(PROBE_SECONDS)
    assert list(dict.fromkeys(case.log)) == list(range(case.sent))
    assert case.sender.settled
    spool.close()


class Job:
    """Work that does what a test says."""

    format = "test"

    def __init__(self, size: int = 1, error: Exception | None = None) -> None:
        self.size = size
        self._error = error

    def events(self, _: Any) -> Iterator[Any]:
        if self._error is not None:
            raise self._error
        yield RejectedRecord("schema", "never mind")


def test_the_buffer_is_bounded_by_number_and_by_bytes() -> None:
    buffer = WorkBuffer(2, 100)
    assert [buffer.offer(Job(40)) for _ in range(3)] == [True, True, False]
    assert buffer.take(0) is not None
    assert not buffer.offer(Job(80))
    assert buffer.offer(Job(60))
    assert len(buffer) == 2
    waiting = threading.Timer(0.05, buffer.wake)
    waiting.start()
    assert [buffer.take(0), buffer.take(0)].count(None) == 0
    assert buffer.take(30) is None
    waiting.join()


def test_what_comes_while_the_spool_drains_does_not_wait_for_one_turn_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.publishing.publisher._TURN_SECONDS", 3600.0)
    turns: list[int] = []

    class Draining(Kept):
        def turn(self) -> None:
            turns.append(1)
            self.busy = False

    made = publisher(Draining(busy=True))
    for _ in range(100):
        made.offer(Job())
    made.start()
    made.stop()
    assert made.counts.get(REJECTS, "test", "schema") == 100
    assert len(turns) <= 3


def test_a_failure_is_counted_by_its_place_and_the_next_request_is_told(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    made = publisher(kept)
    made.start()
    made.start()  # A second call does nothing.
    made.offer(Job(error=ValueError("the zebrafish said so")))
    made.offer(Job())
    made.stop()
    assert made.counts.get(FAILURES, "events") == 1
    assert made.counts.get(REJECTS, "test", "schema") == 1
    assert "zebrafish" not in caplog.text
    assert kept.closed


def test_the_counts_are_those_of_the_table_of_metrics() -> None:
    table = {each.name: (each.kind, each.labels) for each in METRICS}
    for name, shape in SHAPES.items():
        assert table[name] == shape, name
    counts = Counts()
    counts.add(DROPPED, 'a "why"\n', amount=2)
    counts.put(WAITING, "buffer", value=3)
    shown = counts.exposition()
    assert (
        '# TYPE stillwatch_gateway_dropped_total counter\nstillwatch_gateway_dropped_total{why="a \\"why\\"\\n"} 2'
        in shown
    )
    assert 'stillwatch_gateway_waiting{place="buffer"} 3' in shown


def test_the_configuration_is_read_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n", encoding="utf-8")
    found = GatewayConfiguration.from_environment(
        {
            "STILLWATCH_HMAC_KEY_FILE": str(tmp_path / "key"),
            "STILLWATCH_GATEWAY_ROUTES": "/generate=completions, /v1/chat/completions=chat",
            "STILLWATCH_GATEWAY_ACCOUNT_HEADERS": "X-Consumer, Authorization",
            "STILLWATCH_GATEWAY_FAIL_CLOSED": "yes",
            "STILLWATCH_GATEWAY_STALL_SECONDS": "1.5",
            "STILLWATCH_BASE_DIR": str(tmp_path),
        }
    )
    assert found.hmac_key is not None
    assert found.hmac_key.get_secret_value() == "k" * 40
    assert "kkk" not in repr(found)
    assert found.gateway_routes == (("/v1/chat/completions", "chat"), ("/generate", "completions"))
    assert found.gateway_account_headers == ("x-consumer", "authorization")
    assert found.gateway_fail_closed
    assert found.gateway_stall_seconds == 1.5
    assert found.spool_dir == tmp_path / "spool"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_BUFFER_BYTES", "many"),
        ("GATEWAY_BUFFER_REQUESTS", "-1"),
        ("GATEWAY_STALL_SECONDS", "nan"),
        ("GATEWAY_FAIL_CLOSED", "perhaps"),
        ("GATEWAY_ROUTES", "/x=song"),
        ("GATEWAY_ROUTES", "chat"),
        ("HMAC_KEY_FILE", "/nowhere/at/all"),
    ],
)
def test_a_setting_that_cannot_be_is_told_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name.removesuffix("_FILE") if "FILE" not in name else "nowhere"):
        GatewayConfiguration.from_environment({f"STILLWATCH_{name}": value})


def test_every_setting_of_the_gateway_is_explained() -> None:
    for name, _, meaning in GATEWAY_SETTINGS:
        assert name.startswith("STILLWATCH_")
        assert len(meaning) > 15, name
        assert meaning.rstrip().endswith((".", "md")), name
    assert json.dumps(GATEWAY_SETTINGS)
