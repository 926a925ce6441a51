"""Two simulated days through the live path and `backtest`: the same alerts, byte for byte, and the right ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.product import tell

if TYPE_CHECKING:
    from tests.acceptance.conftest import Live

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]
SHOWN = ("attack_accounts_named_share", "honest_accounts_named", "honest_named_by_recipe", "named_precision")


def test_every_request_goes_in(live: Live) -> None:
    sent = live.scenario.sent
    assert sent["requests"] >= 60_000
    assert sent["senders"] >= 1_000
    assert live.replayed["read"] == live.replayed["sent"] == sent["requests"] == live.tested["events"]
    assert live.replayed["last_hop_closed"] is True
    tell(f"{sent['requests']:,} requests of {sent['senders']:,} accounts, {live.replayed['events_per_second']:,.0f}/s")
    tell(f"every alert was in Postgres {live.seconds_after_replay:.1f} s after the last request")


def test_the_live_path_raises_the_alerts_of_the_backtest_byte_for_byte(live: Live) -> None:
    lines = live.backtest_revisions.splitlines()
    assert live.exported == live.backtest_alerts
    assert live.revisions == set(lines)
    alerts = len(live.exported.splitlines())
    assert len(lines) > alerts >= 2  # The two campaigns of many accounts.
    tell(f"{alerts} alerts in {len(lines)} revisions, {len(live.exported):,} bytes exported, all the same")


def test_every_campaign_is_found_and_hardly_anyone_else(live: Live) -> None:
    judged = live.tested["evaluation"]
    for each in judged["campaigns"]:
        tell(f"{each['campaign']}: found {each['found']}, {each['named_share']:.0%} of its {each['accounts']} accounts")
        tell(f"  first alert after {each['hours_to_alert']} h and {each['requests_before_alert']} of its requests")
    tell(f"false incidents: {judged['false_incidents']}, {judged['false_incidents_per_day']} a day")
    tell(f"requests to honest groups to verify themselves: {judged['false_verification_requests']}")
    tell(json.dumps({name: judged[name] for name in SHOWN}))
    assert {each["campaign"] for each in judged["campaigns"] if each["found"]} == {
        "heavy-account",
        "shared-template",
        "sharded-harvest",
    }
    assert judged["campaigns_found"] == 3
    assert judged["false_incidents_per_day"] <= 1
