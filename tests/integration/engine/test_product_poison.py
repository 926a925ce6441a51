"""Fifteen kinds of poison on the requests topic: each named, none counted, nothing else disturbed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Producer

from schemas.topics import ACCOUNTS_STATE, DEAD_LETTERS, REQUESTS
from services.adapters.kafka.client import producer_config
from services.settings import Settings
from tests.crash.cell import Cell
from tests.crash.oracle import account_totals, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
WORDS: Final = "cormorant words of a prompt"
ACCOUNT: Final = "00000000000000aa"
DAY_MS: Final = 86_400_000
FUTURE_MS: Final = 300_000


def _event(now: int, number: int, **other: Any) -> dict[str, Any]:
    return {
        "type": "request.v1",
        "event_id": f"{number:032x}",
        "time_unix_ms": now + number,
        "account": ACCOUNT,
        "gen_ai_request_model": "teacher-mini",
        "gen_ai_usage_output_tokens": 7,
    } | other


def _poison(now: int) -> dict[str, tuple[bytes | None, bytes, str]]:
    """Give each kind: key, value, and the reason that must be told. ``WORDS`` stand where text could come in."""

    def raw(**other: Any) -> bytes:
        return json.dumps(_event(now, 1, **other)).encode()

    key = ACCOUNT.encode()
    good = raw()
    deep = b'{"type":"request.v1","sketch":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    return {
        "no JSON": (key, WORDS.encode(), "not_json"),
        "truncated": (key, good[:-9], "not_json"),
        "far too large": (key, raw(client_family=WORDS * 30_000), "too_large"),
        "not a number": (key, good.replace(b'_tokens": 7', b'_tokens": NaN'), "not_json"),
        "deep nesting": (key, deep, "bad_sketch"),
        "wrong type": (key, raw(gen_ai_usage_output_tokens=WORDS), "schema"),
        "far future": (key, raw(time_unix_ms=now + FUTURE_MS + 600_000), "time_in_future"),
        "long ago": (key, raw(time_unix_ms=now - 30 * DAY_MS), "time_too_old"),
        "bad UTF-8": (key, good.replace(b"teacher-mini", b"\xff\xfe\xc0"), "not_json"),
        "unknown version": (key, raw(type=f"request.v99 {WORDS}"), "unknown_version"),
        "no key": (None, good, "null_key"),
        "another's key": (b"00000000000000bb", good, "key_mismatch"),
        "huge integer": (key, good.replace(b'_tokens": 7', b'_tokens": ' + b"9" * 400), "schema"),
        "control characters": (key, good.replace(b"teacher-mini", b"\x00\x01\x1b[2J"), "not_json"),
        "empty": (key, b"", "empty"),
        "repetition": (key, raw(gen_ai_response_finish_reasons=["stop"] * 3_000), "schema"),
        "unknown field": (key, raw(prompt=WORDS), "schema"),
        "bad identifier": (key, raw(organization="A" * 16), "schema"),
        "bad sketch": (key, raw(sketch={"ladder": "AAAA", "projection": ""}), "bad_sketch"),
    }


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    """A broker of the test's own, for the topics have the product's names."""
    made = Cell(tmp_path / "cell")
    try:
        made.open()
        yield made
    finally:
        made.close()


class Sender:
    """Sends to requests and keeps where each record came to lie."""

    def __init__(self, cell: Cell) -> None:
        config = producer_config(Settings(), cell.broker.bootstrap_servers)
        self._producer = Producer(config | {"log_level": 0, "linger.ms": 1})
        self.places: dict[str, tuple[int, int]] = {}
        self.failures: dict[str, str] = {}

    def send(self, name: str, key: bytes | None, value: bytes) -> None:
        def note(error: Any, message: Any) -> None:
            if error is not None:
                self.failures[name] = error.name()
            else:
                self.places[name] = (message.partition(), message.offset())

        self._producer.produce(REQUESTS.name, value, key, on_delivery=note)
        assert self._producer.flush(60) == 0


def _letters(cell: Cell) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in cell.read(DEAD_LETTERS.name)]


def test_each_kind_is_named_and_nothing_else_disturbed(cell: Cell) -> None:
    now = int(time.time() * 1000)  # noqa: TID251 - the broker's clock is the machine's
    kinds = _poison(now)
    assert len(kinds) >= 15
    sender = Sender(cell)
    for number in range(60):
        sender.send(f"good {number}", ACCOUNT.encode(), json.dumps(_event(now, number)).encode())
        if number % 3 == 0 and number // 3 < len(kinds):
            name = list(kinds)[number // 3]
            sender.send(name, *kinds[name][:2])
    # The same id with another body: counted, as the decision on repeated ids says, and so no poison.
    sender.send("same id", ACCOUNT.encode(), json.dumps(_event(now, 5, gen_ai_usage_output_tokens=8)).encode())
    assert sender.failures == {}
    cell.start("accounts")
    assert cell.wait(lambda: len(_letters(cell)) >= len(kinds), 400, "every letter is there"), cell.log_of(
        "accounts", 0
    )
    cell.settle_accounts()

    letters = _letters(cell)
    told = {(letter["partition"], letter["offset"]): letter["reason"] for letter in letters}
    assert told == {sender.places[name]: reason for name, (_, _, reason) in kinds.items()}
    assert len(letters) == len(told)
    assert {(letter["topic"], letter["job"]) for letter in letters} == {(REQUESTS.name, "accounts")}
    sizes = {(letter["partition"], letter["offset"]): letter["size"] for letter in letters}
    assert sizes == {sender.places[name]: len(value) for name, (_, value, _) in kinds.items()}
    everything = json.dumps(letters) + "".join(path.read_text(errors="replace") for path in cell.folder.glob("*.log"))
    assert WORDS not in everything
    assert "cormorant" not in everything
    assert account_totals(stored(cell.read(ACCOUNTS_STATE.name))) == {ACCOUNT: 61}
