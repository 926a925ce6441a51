"""Two simulated days through the live path and through `backtest`: the same alerts, byte for byte, and the right ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Live

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600)]
SHOWN = ("attack_accounts_named_share", "honest_accounts_named", "honest_named_by_recipe", "named_precision")


def test_every_request_goes_in(live: Live) -> None:
    sent = live.scenario.sent
    assert sent["requests"] >= 60_000
    assert sent["senders"] >= 1_000
    assert live.replayed["read"] == live.replayed["sent"] == sent["requests"] == live.tested["events"]
    assert live.replayed["last_hop_closed"] is True
    rate, rest = live.replayed["events_per_second"], live.seconds_after_replay
    print(
        f"\n{sent['requests']:,} requests of {sent['senders']:,} accounts at {rate:,.0f}/s; all done {rest:.1f} s later"
    )


def test_the_live_path_raises_the_alerts_of_the_backtest_byte_for_byte(live: Live) -> None:
    lines = live.backtest_revisions.splitlines()
    assert live.exported == live.backtest_alerts
    assert live.revisions == set(lines)
    alerts = len(live.exported.splitlines())
    assert len(lines) > alerts >= 3
    print(f"\n{alerts} alerts in {len(lines)} revisions, {len(live.exported):,} bytes exported, all the same")


def test_every_campaign_is_found_and_hardly_anyone_else(live: Live) -> None:
    judged = live.tested["evaluation"]
    print()
    for each in judged["campaigns"]:
        print(
            f"{each['campaign']}: found {each['found']}, {each['named_share']:.0%} of {each['accounts']} accounts named,"
            f" after {each['hours_to_alert']} h and {each['requests_before_alert']} requests"
        )
    print(f"false incidents: {judged['false_incidents']}, {judged['false_incidents_per_day']} a day;", end=" ")
    print(f"verification requests to honest groups: {judged['false_verification_requests']}")
    print(json.dumps({name: judged[name] for name in SHOWN}))
    assert {each["campaign"] for each in judged["campaigns"] if each["found"]} == {
        "heavy-account",
        "shared-template",
        "sharded-harvest",
    }
    assert judged["campaigns_found"] == 3
    assert judged["false_incidents_per_day"] <= 1
