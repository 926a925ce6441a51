from __future__ import annotations

from typing import Any

import pytest

from services.gateway.formats import azure, mooncake
from services.gateway.identity import Identity
from services.gateway.parsed import RejectedRecord
from services.gateway.sketching import EventMaker

IDENTITY = Identity(b"0123456789abcdef0123456789abcdef")
MAKER = EventMaker(IDENTITY)


def test_mooncake_rows_stand_at_the_base_time_and_conversations_are_accounts() -> None:
    row = {"timestamp": 27_482, "input_length": 6955, "output_length": 52, "hash_ids": [0, 47, 48]}
    first = mooncake.parse(row, base_time_ms=1_000_000)
    assert (first.time_unix_ms, first.input_tokens, first.output_tokens) == (1_027_482, 6955, 52)
    assert mooncake.parse(row | {"hash_ids": [0, 47, 99]}).account_raw == first.account_raw
    assert mooncake.parse(row | {"hash_ids": [0, 48]}).account_raw != first.account_raw
    event = MAKER.to_event(first, "test:1")
    assert event.sketch is None
    assert event.account == IDENTITY.account("mooncake-0-47")


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"hash_ids": []}, "schema"), ({"hash_ids": ["a"]}, "schema"), ({"hash_ids": [0], "timestamp": None}, "no_time")],
)
def test_mooncake_rejections_are_named(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as caught:
        mooncake.parse(row)
    assert caught.value.reason == reason


def test_azure_rows_keep_their_time_and_get_one_of_256_accounts() -> None:
    row = {"TIMESTAMP": "2023-11-16 18:17:03.9799600", "ContextTokens": "4808", "GeneratedTokens": "10"}
    parsed = azure.parse(row)
    assert (parsed.time_unix_ms, parsed.input_tokens, parsed.output_tokens) == (1_700_158_623_980, 4808, 10)
    assert azure.parse(dict(row)).account_raw == parsed.account_raw
    accounts = {
        azure.parse(row | {"TIMESTAMP": f"2023-11-16 18:17:{s:02d}.{m:03d}"}).account_raw
        for s in range(60)
        for m in range(40)
    }
    assert 150 < len(accounts) <= 256


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TIMESTAMP": None}, "schema"),
        ({"ContextTokens": "-1"}, "schema"),
        ({"GeneratedTokens": "9" * 5000}, "schema"),
        ({"TIMESTAMP": "soon"}, "no_time"),
    ],
)
def test_azure_rejections_are_named(changes: dict[str, Any], reason: str) -> None:
    row = {"TIMESTAMP": "2023-11-16 18:17:03.9799600", "ContextTokens": "4808", "GeneratedTokens": "10"}
    with pytest.raises(RejectedRecord) as caught:
        azure.parse(row | changes)
    assert caught.value.reason == reason
