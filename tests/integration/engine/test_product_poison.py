"""Fifteen kinds of poison on the requests topic: each named, none counted, nothing else disturbed; a second try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Producer

from schemas.topics import ACCOUNTS_STATE, DEAD_LETTERS, REQUESTS
from services.adapters.kafka.client import producer_config
from services.settings import Settings
from tests.crash.cell import ROOT, STOPPED, Cell
from tests.crash.oracle import account_totals, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


def _stillwatch(cell: Cell, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "dead-letters", *arguments],
        env={**os.environ, **cell.environment(0)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def test_each_kind_is_named_nothing_else_disturbed_and_what_was_mended_sent_again(
    cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    record_property("trials", _poison_is_named(cell))
    _too_large_for_the_broker(cell)
    _letters_are_shown_without_a_word_of_the_record(cell)
    _what_was_mended_is_sent_again_once(cell)


def _poison_is_named(cell: Cell) -> int:
    """Give how many kinds were sent."""
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
    return len(kinds)


def _too_large_for_the_broker(cell: Cell) -> None:
    """Five megabytes are refused by the broker, so the gateway that sends them hears of it."""
    sender = Sender(cell)
    before = len(cell.read(REQUESTS.name))
    sender.send(
        "five megabytes", ACCOUNT.encode(), b'{"type":"request.v1","x":"' + os.urandom(2_500_000).hex().encode() + b'"}'
    )
    assert sender.failures == {"five megabytes": "MSG_SIZE_TOO_LARGE"}
    assert len(cell.read(REQUESTS.name)) == before


def _letters_are_shown_without_a_word_of_the_record(cell: Cell) -> None:
    listed = _stillwatch(cell, "list", "--json")
    assert listed["total"] == len(_letters(cell)) > 0
    assert sum(row["letters"] for row in listed["counts"]) == listed["total"]
    (letter,) = _stillwatch(cell, "list", "--reason", "unknown_version", "--json")["letters"]
    shown = _stillwatch(cell, "show", letter["place"], "--json")
    assert shown["record"]["still_there"] is True
    assert shown["record"]["bytes"] == letter["size"]
    table = _stillwatch(cell, "list", "--limit", "50") + _stillwatch(cell, "show", letter["place"])
    assert "unknown_version" in table
    assert "cormorant" not in table + json.dumps([listed, shown])
    assert "no dead letter names" in _stillwatch(cell, "show", "requests/0/99999999", code=1)
    assert "no span" in _stillwatch(cell, "list", "--since", "soon", code=1)


def _what_was_mended_is_sent_again_once(cell: Cell) -> None:
    sender = Sender(cell)
    # So that the next one is appended at once: the clamp asks for the broker's time.
    sender.send("first", ACCOUNT.encode(), json.dumps(_event(int(time.time() * 1000), 76)).encode())  # noqa: TID251 - as above
    now = int(time.time() * 1000)  # noqa: TID251 - as above
    # Twelve seconds later than the clamp allows now: after a while the same bytes are good.
    ahead = _event(now + FUTURE_MS + 12_000, 77, account="00000000000000cc")
    sender.send("ahead", b"00000000000000cc", json.dumps(ahead).encode())
    cell.start("accounts")
    place = sender.places["ahead"]

    def refused() -> bool:
        return place in {(letter["partition"], letter["offset"]) for letter in _letters(cell)}

    assert cell.wait(refused, 400, "it is refused"), cell.log_of("accounts", 0)
    choice = ("redrive", "--topic", REQUESTS.name, "--reason", "time_in_future", "--json")
    before = len(cell.read(REQUESTS.name))
    looked = _stillwatch(cell, *choice, "--dry-run")
    assert (looked["sent"], looked["could_be_sent"], looked["dry_run"]) == (0, 2, True)
    time.sleep(max(0.0, now / 1000 + 14 - time.time()))  # noqa: TID251 - as above
    sent = _stillwatch(cell, *choice)
    assert (sent["chosen"], sent["sent"], sent["gone"]) == (2, 2, 0)
    # The one of the first test is still too far ahead, and is refused a second time; it is sent no third time.
    assert _stillwatch(cell, *choice)["chosen"] <= 1
    assert "nothing says" in _stillwatch(cell, "redrive", code=1)
    cell.settle_accounts()
    totals = account_totals(stored(cell.read(ACCOUNTS_STATE.name)))
    assert totals["00000000000000cc"] == 1
    assert totals[ACCOUNT] == 62
    beats = Counter(record.key is None for record in cell.read(REQUESTS.name))
    assert len(cell.read(REQUESTS.name)) - before >= 2
    assert beats[False] > 0


def test_too_much_poison_stops_the_job_with_a_clear_error_and_a_flight_record(cell: Cell) -> None:
    sender = Sender(cell)
    for _ in range(2_500):  # Under one key: the share is that of a partition.
        sender._producer.produce(REQUESTS.name, WORDS.encode(), ACCOUNT.encode())
    assert sender._producer.flush(60) == 0
    before = len(_letters(cell))
    cell.start("accounts")
    assert cell.end_of("accounts", 0, 400) == STOPPED
    said = cell.log_of("accounts", 0)
    assert "TooManyInvalidError" in said
    assert "not_json" in said
    assert "STILLWATCH_DEAD_LETTER_RATIO=1" in said
    assert len(_letters(cell)) - before < 2_500
    (flight,) = [json.loads(path.read_text()) for path in (cell.folder / "flight").glob("accounts-0-*.json")]
    assert flight["error"]["kind"] == "TooManyInvalidError"
    assert flight["entries"][-1]["what"] == "polled"
    assert "cormorant" not in said + json.dumps(flight)

    cell.start("accounts", STILLWATCH_DEAD_LETTER_RATIO="1")
    assert cell.wait(lambda: len(_letters(cell)) >= before + 2_500, 400, "they pass"), cell.log_of("accounts", 0)
    cell.drain("accounts")
    assert len(_letters(cell)) == before + 2_500
