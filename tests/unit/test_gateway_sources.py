from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from detection.config import Clocking
from schemas.request_event import Heartbeat, RequestEvent
from services.gateway.accounts import read_accounts
from services.gateway.identity import Identity
from services.gateway.lines import SourceFileError
from services.gateway.replaying import FileSink, KafkaSink, Replay, drain_partitions, shift_to_now
from services.gateway.sources import Format, RejectedLine, open_source, time_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.account_attributes import AccountAttributes

IDENTITY = Identity(b"0123456789abcdef0123456789abcdef")
SHARED = Path(os.environ.get("STILLWATCH_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the public data set {name} is not beside the project; set STILLWATCH_SHARED_DATA")
    return path


def line(number: int = 0, **changes: Any) -> dict[str, Any]:
    request = {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}
    return {"api_key": f"sk-{number % 3}", "started_at": 1_700_000_000 + number, "request": request} | changes


def read(path: Path, format_name: Format = "openai") -> tuple[list[RequestEvent], list[RejectedLine]]:
    items = list(open_source(path, format_name, IDENTITY))
    events = [item for item in items if isinstance(item, RequestEvent)]
    rejects = [item for item in items if isinstance(item, RejectedLine)]
    return events, rejects


def test_every_line_is_an_event_or_a_named_rejection(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = json.dumps(line())
    deep = "[" * 100_000
    lines = [
        good,
        "",
        "not json",
        "[1, 2]",
        "7",
        json.dumps(line(api_key=None)),
        "\xff\xfe",
        deep,
        f"[{good}]",
        "  ",
        good,
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode("latin-1"))
    events, rejects = read(path)
    assert len(events) == 3
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (3, "not_json"),
        (4, "not_an_object"),
        (4, "not_an_object"),
        (5, "not_an_object"),
        (6, "no_account"),
        (7, "not_json"),
        (8, "not_json"),
    ]


def test_an_array_is_read_on_one_line_or_over_many(tmp_path: Path) -> None:
    records = [line(number) for number in range(4)] + [3]
    path = tmp_path / "batch.json"
    for indent in (None, 2):
        path.write_text(json.dumps(records, indent=indent), encoding="utf-8")
        events, rejects = read(path)
        assert len(events) == 4
        assert [reject.reason for reject in rejects] == ["not_an_object"]


def test_lone_surrogates_and_nan_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    record = line()
    record["request"]["messages"][0]["content"] = "broken \ud800 text"
    record["request"]["temperature"] = float("nan")
    path.write_text(json.dumps(record), encoding="utf-8")
    (event,), _ = read(path)
    assert event.sketch is not None
    assert event.gen_ai_request_temperature is None


def test_records_without_an_id_of_their_own_are_told_apart_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join([json.dumps(line())] * 3), encoding="utf-8")
    events, _ = read(path)
    assert len({event.event_id for event in events}) == 3
    assert read(path)[0] == events


def test_the_map_of_accounts_goes_from_raw_values_to_ids(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(line(number)) for number in range(9)), encoding="utf-8")
    accounts: dict[str, str] = {}
    events = list(open_source(path, "openai", IDENTITY, accounts=accounts))
    assert accounts == {raw: IDENTITY.account(raw) for raw in ("sk-0", "sk-1", "sk-2")}
    assert len(events) == 9
    assert time_span(path, "openai") == (1_700_000_000_000, 1_700_000_008_000)
    assert time_span(path, "openai", limit=3) == (1_700_000_000_000, 1_700_000_002_000)


def test_events_go_round_through_a_file(tmp_path: Path) -> None:
    path, out = tmp_path / "pairs.jsonl", tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(line(number)) for number in range(9)), encoding="utf-8")
    events, _ = read(path)
    with out.open("wb") as file:
        Replay(FileSink(file), clock=Still()).run(open_source(path, "openai", IDENTITY))
    with out.open("ab") as file:
        file.write(b'{"type":"request.v1"}\n{"type":"request.v2"}\n{\n')
    again, rejects = read(out, "events")
    assert again == events
    assert [(reject.line, reject.reason) for reject in rejects] == [(10, "schema"), (11, "schema"), (12, "not_json")]
    assert time_span(out, "events") == (1_700_000_000_000, 1_700_000_008_000)


def test_a_table_tells_its_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,1,2\n1,2\nx,1,2\n", encoding="utf-8"
    )
    events, rejects = read(path, "azure")
    assert len(events) == 1
    assert [(reject.line, reject.reason) for reject in rejects] == [(3, "not_an_object"), (4, "no_time")]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="cannot be read"):
        list(open_source(tmp_path / "none", "openai", IDENTITY))


@pytest.mark.parametrize(
    ("name", "format_name", "records"),
    [
        ("gateways/litellm_proxy_callback.jsonl", "litellm", 3),
        ("gateways/litellm_generic_api_batch.json", "litellm", 3),
        ("benign/mooncake/conversation_trace.jsonl", "mooncake", 12_031),
        ("benign/azure/code_2023.csv", "azure", 8_819),
    ],
)
def test_public_traces_lose_nothing(name: str, format_name: Format, records: int) -> None:
    events, rejects = read(shared(name), format_name)
    assert (len(events), Counter(reject.reason for reject in rejects)) == (records, Counter())
    assert len({event.event_id for event in events}) == records


def test_azure_times_are_the_traces_own() -> None:
    path = shared("benign/azure/code_2023.csv")
    with path.open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert first["TIMESTAMP"] == "2023-11-16 18:17:03.9799600"
    assert read(path, "azure")[0][0].time_unix_ms == 1_700_158_623_980


class Still:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Recorder:
    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes | None, bytes, dict[str, Any], int | None]] = []
        self.flushed = 0

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, str | bytes | None]] = (),
        partition: int | None = None,
    ) -> None:
        self.sent.append((topic, key, value, dict(headers), partition))

    def flush(self) -> int:
        self.flushed = len(self.sent)
        return self.flushed

    def partitions(self, topic: str) -> int:
        assert topic == "requests"
        return 4


def event(time_ms: int) -> RequestEvent:
    return RequestEvent(
        event_id=f"e{time_ms}", time_unix_ms=time_ms, account="00000000000000aa", gen_ai_request_model="m"
    )


def test_replay_sends_keyed_events_and_counts_everything() -> None:
    producer = Recorder()
    reject = RejectedLine(3, "not_json", "the line is not JSON")
    run = Replay(KafkaSink(producer, "/gateway/test"), shift_ms=5, clock=Still())
    counts = run.run([event(1000), reject, event(3000), event(2000)])
    assert (counts.read, counts.sent, dict(counts.rejected)) == (4, 3, {"not_json": 1})
    assert (counts.first_ms, counts.last_ms) == (1005, 3005)
    assert producer.flushed == 3
    topic, key, value, headers, partition = producer.sent[0]
    assert (topic, key, partition) == ("requests", b"00000000000000aa", None)
    assert msgspec.json.decode(value, type=RequestEvent).time_unix_ms == 1005
    assert headers["ce_id"] == b"e1000"
    assert headers["ce_time"] == b"1970-01-01T00:00:01.005Z"
    assert counts.as_json()["rejected_lines"] == [{"line": 3, "reason": "not_json", "detail": "the line is not JSON"}]


def test_a_limit_counts_events() -> None:
    counts = Replay(KafkaSink(Recorder(), "/"), clock=Still()).run([event(1), event(2), event(3)], limit=2)
    assert (counts.read, counts.sent) == (2, 2)


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 20.0), (10.0, 2.0), (None, 0.0)])
def test_replay_is_paced_by_event_time(speed: float | None, seconds: float) -> None:
    clock = Still()
    run = Replay(KafkaSink(Recorder(), "/"), speed=speed, clock=clock, sleep=clock.sleep)
    assert run.run([event(1000), event(9000), event(8000), event(21_000)]).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("speed", "first"), [(1.0, 500_000), (10.0, 410_000), (None, 400_000)])
def test_shifted_events_never_run_ahead_of_the_clock(speed: float | None, first: int) -> None:
    span, now = (7_000, 107_000), 500_000
    shift = shift_to_now(span, now, speed)
    assert span[0] + shift == first
    for time_ms in range(*span, 1000):
        sent = now + (0 if speed is None else (time_ms - span[0]) / speed)
        assert time_ms + shift <= sent


@pytest.mark.parametrize(
    ("now_ms", "told", "closes"), [(10**9, 1_000_000 + 930_000, True), (1_000_500, 1_000_500, False)]
)
def test_a_drain_tells_every_partition_and_never_the_future(now_ms: int, told: int, *, closes: bool) -> None:
    producer = Recorder()
    assert drain_partitions(producer, 1_000_000, Clocking(), now_ms, "/gateway/test") == (told, closes)
    assert [partition for *_, partition in producer.sent] == [0, 1, 2, 3]
    for _, key, value, headers, _ in producer.sent:
        assert key is None
        assert msgspec.json.decode(value, type=Heartbeat).time_unix_ms == told
        assert headers["ce_type"].endswith(b"stillwatch.heartbeat.v1")
    assert producer.flushed == 4


def test_account_attributes_are_keyed_and_broken_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.jsonl"
    records: list[dict[str, Any]] = [
        {
            "account": "sk-1",
            "created_at": "2023-11-14T22:13:20Z",
            "organization": "acme",
            "verified": True,
            "payment": "card-9",
            "signup_ip": "203.0.113.9",
        },
        {"account": "sk-2", "created_at": 1_700_000_000, "verified": None},
        {"account": ""},
        {"account": "sk-3", "created_at": "long ago"},
        {"account": "sk-3", "verified": "yes"},
    ]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    items = list(read_accounts(path, IDENTITY))
    first: AccountAttributes | RejectedLine = items[0]
    assert not isinstance(first, RejectedLine)
    assert first.account == IDENTITY.account("sk-1")
    assert first.created_at_unix_ms == 1_700_000_000_000
    assert first.organization == IDENTITY.identifier("organization", "acme")
    assert first.payment == IDENTITY.identifier("payment", "card-9")
    assert first.signup_network == IDENTITY.places("203.0.113.200")[1]
    assert first.verified
    assert b"acme" not in msgspec.json.encode(first)
    assert [(item.line, item.reason) for item in items if isinstance(item, RejectedLine)] == [
        (3, "no_account"),
        (4, "no_time"),
        (5, "schema"),
    ]
