"""Work goes over the socket whole, in any pieces, and is kept until it is safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.apart.frames import Begin, Handed, Incoming, cut, frame
from services.gateway.apart.ledger import Ledger
from services.gateway.apart.process import can_start
from services.gateway.apart.works import unpacked
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.intake.batch import VendorBatch
from services.gateway.middleware.exchange import Captured
from services.gateway.payload import Payload
from services.gateway.publishing.starting import start_publisher
from services.gateway.sketching import EventMaker
from tests.contracts.test_gateway_privacy import litellm_record
from tests.unit.gateway.doubles import IDENTITY, Hands, exchange

HEADS = msgspec.msgpack.Decoder(Begin | Handed)


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


def test_a_frozen_application_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_start()
    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert not can_start()
    made, _ = start_publisher(GatewayConfiguration(hmac_key=Secret("k" * 40)), Hands(), "/gateway/test", start=False)
    assert type(made).__name__ == "Publisher"
