"""The commands against the broker that librdkafka ships for its own tests: real client, real protocol, no JVM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import typer
from confluent_kafka import Consumer, Producer
from typer.testing import CliRunner

from schemas.account_attributes import AccountAttributes
from schemas.request_event import Heartbeat, RequestEvent
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.murmur2 import partition_of
from services.cli import accounts, replay
from services.errors import ConfigurationError, NotRunningError, StillwatchError
from services.gateway.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
PARTITIONS = 4  # What the mock broker gives every topic.


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[typer.Typer]:
    made = typer.Typer()
    replay.register(made)
    accounts.register(made)
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("STILLWATCH_HMAC_KEY", KEY)
    monkeypatch.delenv("STILLWATCH_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    bootstrap.load_settings.cache_clear()
    yield made
    bootstrap.load_settings.cache_clear()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    owner = Producer({"test.mock.num.brokers": 1, "allow.auto.create.topics": True})
    for topic in ("requests", "account-attributes"):
        owner.produce(topic, b"made")
    assert owner.flush(20) == 0
    (found,) = owner.list_topics(timeout=10).brokers.values()
    monkeypatch.setenv("STILLWATCH_KAFKA_BOOTSTRAP_SERVERS", f"{found.host}:{found.port}")
    bootstrap.load_settings.cache_clear()
    yield f"{found.host}:{found.port}"
    del owner


def consume(broker: str, topic: str, count: int) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[Any] = []
    while len(found) < count:
        message = consumer.poll(10)
        assert message is not None, f"{len(found)} of {count} records"
        assert message.error() is None
        if message.value() != b"made":
            found.append(message)
    consumer.close()
    return found


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    lines = [
        json.dumps(
            {
                "api_key": f"sk-canary-{number % 7}",
                "started_at": 1_700_000_000 + number,
                "request": {"model": "m", "messages": [{"role": "user", "content": f"canary question {number}"}]},
            }
        )
        for number in range(40)
    ]
    lines[3] = "not json but a canary"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(app: typer.Typer, *arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def test_replay_to_kafka_keys_places_and_drains(app: typer.Typer, broker: str, pairs: Path) -> None:
    result = run(app, "replay", pairs, "--format", "openai", "--time", "original", "--drain", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["read"], told["sent"], told["rejected"]) == (40, 39, {"not_json": 1})
    assert told["rejected_lines"][0]["line"] == 4
    assert told["last_hop_closed"] is True
    assert "canary" not in result.output
    messages = consume(broker, "requests", 39 + PARTITIONS)
    events = [message for message in messages if message.key() is not None]
    beats = [message for message in messages if message.key() is None]
    assert len(events) == 39
    for message in events:
        event = msgspec.json.decode(message.value(), type=RequestEvent)
        assert message.key() == event.account.encode()
        assert message.partition() == partition_of(message.key(), PARTITIONS)
        assert dict(message.headers())["ce_id"] == event.event_id.encode()
        assert b"canary" not in message.value()
    assert {json.loads(message.value())["account"] for message in events} == {
        Identity(KEY.encode()).account(f"sk-canary-{number}") for number in range(7)
    }
    assert sorted(message.partition() for message in beats) == list(range(PARTITIONS))
    times = {msgspec.json.decode(message.value(), type=Heartbeat).time_unix_ms for message in beats}
    assert times == {1_700_000_039_000 + 900_000 + 30_000}


def test_replay_to_a_file_and_from_it_to_stdout(app: typer.Typer, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    result = run(app, "replay", pairs, "--format", "openai", "--to", out, "--limit", 10)
    assert result.exit_code == 0, result.output
    assert "11 read, 10 sent" in result.stdout
    assert "1 rejected: not_json (line 4)" in result.stdout
    events = [msgspec.json.decode(line, type=RequestEvent) for line in out.read_bytes().splitlines()]
    # The time of historical formats is now: the last event of those sent has just happened.
    now_ms = SystemClock().now_ms()
    assert now_ms - 60_000 < events[-1].time_unix_ms <= now_ms
    assert events[-1].time_unix_ms - events[0].time_unix_ms == 10_000
    again = run(app, "replay", out, "--format", "events", "--to", "-")
    assert again.stdout.encode() == out.read_bytes()
    assert "10 sent" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["--speed", "fast"], ConfigurationError, "no speed"),
        (["--speed", "0x"], ConfigurationError, "no speed"),
        (["--base-time", "soon"], ConfigurationError, "no time"),
        (["--drain", "--to", "-"], ConfigurationError, "Kafka only"),
        ([], NotRunningError, "does not run"),
        (["--to", "."], ConfigurationError, "cannot be written"),
    ],
)
def test_wrong_use_is_told(
    app: typer.Typer, pairs: Path, arguments: list[str], error: type[StillwatchError], text: str
) -> None:
    result = run(app, "replay", pairs, "--format", "openai", *arguments)
    assert isinstance(result.exception, error)
    assert text in str(result.exception)


def test_the_file_that_is_read_is_not_written(app: typer.Typer, pairs: Path) -> None:
    before = pairs.read_bytes()
    result = run(app, "replay", pairs, "--format", "openai", "--to", pairs)
    assert isinstance(result.exception, ConfigurationError)
    assert pairs.read_bytes() == before


def test_a_file_of_another_format_is_an_error(app: typer.Typer, pairs: Path, tmp_path: Path) -> None:
    result = run(app, "replay", pairs, "--format", "litellm", "--to", tmp_path / "out")
    assert isinstance(result.exception, replay.NothingToReplayError)
    assert "40 rejected" not in result.stdout
    assert "39 rejected: schema" in result.stdout


def test_accounts_are_imported_by_key(app: typer.Typer, broker: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts.jsonl"
    records = [{"account": f"sk-canary-{number}", "created_at": 1_700_000_000, "verified": True} for number in range(5)]
    path.write_text("\n".join(map(json.dumps, [*records, {"account": None}])), encoding="utf-8")
    result = run(app, "accounts", "import", path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"read": 6, "sent": 5, "rejected": {"no_account": 1}}
    for message in consume(broker, "account-attributes", 5):
        row = msgspec.json.decode(message.value(), type=AccountAttributes)
        assert message.key() == row.account.encode()
        assert message.partition() == partition_of(message.key(), PARTITIONS)
        assert row.verified
        assert b"canary" not in message.value()


def test_a_file_without_accounts_is_an_error(app: typer.Typer, broker: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    assert isinstance(run(app, "accounts", "import", path).exception, accounts.NothingToImportError)


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("1x", 1.0), ("10x", 10.0), ("0.5", 0.5)])
def test_speeds(text: str, speed: float | None) -> None:
    assert replay.parse_speed(text) == speed
