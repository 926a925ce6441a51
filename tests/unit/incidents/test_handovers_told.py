"""From requests to an alert: keys that follow one another, where refused calls tell nothing but whose key it was."""

from __future__ import annotations

import numpy as np
import pytest

from detection.columns import EVENT, Flag
from detection.config import DetectionConfig
from detection.ids import mix, to_hex
from detection.pipeline import LocalPipeline

HOUR_MS = 3_600_000
START_MS = 490_000 * HOUR_MS
LIFE_HOURS = 10


def keys(count: int) -> list[int]:
    return mix(np.arange(1, count + 1, dtype=np.uint64)).tolist()


def requests(accounts: list[int], *, refusals: int = 3) -> np.ndarray:
    """Three requests an hour from one network for the life of each key, then refusals, and the next key."""
    made = []
    for place, account in enumerate(accounts):
        begins = START_MS + place * LIFE_HOURS * HOUR_MS
        times = begins + np.arange(0, LIFE_HOURS * HOUR_MS, HOUR_MS // 3) + 40_000
        accepted = np.zeros(len(times), EVENT)
        accepted["time"], accepted["network"], accepted["configuration"], accepted["client"] = times, 5, 6, 7
        refused = np.zeros(refusals, EVENT)
        refused["time"] = begins + LIFE_HOURS * HOUR_MS + np.arange(refusals) * 60_000 - 300_000
        refused["flags"] = Flag.ERROR | Flag.REJECTED | Flag.TEXT_UNAVAILABLE
        for part in (accepted, refused):
            part["account"] = account
            made.append(part)
    events = np.concatenate(made)
    return events[np.argsort(events["time"], kind="stable")]


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_alert_names_the_keys_and_says_what_they_did(partitions: int) -> None:
    accounts, pipeline = keys(6), LocalPipeline(DetectionConfig(), None, partitions)
    events = requests(accounts)
    # Every source is told the time, as heartbeats do.
    alerts = []
    for start in range(0, len(events), 20):
        part = events[start : start + 20]
        for place in range(partitions):
            alerts += pipeline.feed(place, part[part["account"] % partitions == place])
        for place in range(partitions):
            alerts += pipeline.advance(place, int(part["time"][-1]))
    alerts += pipeline.finish()
    last = alerts[-1]
    assert {alert.alert_id for alert in alerts} == {last.alert_id}
    assert (last.lane, last.kind, last.subject_kind) == ("link", "alert", "campaign")
    assert {member.account for member in last.members} == {to_hex(account) for account in accounts}
    assert min(member.strength for member in last.members) > 0.5
    assert "a new key takes over where one is refused" in last.title


def test_keys_that_end_without_refusals_raise_nothing() -> None:
    pipeline = LocalPipeline(DetectionConfig(), None, 1)
    assert pipeline.feed(0, requests(keys(6), refusals=0)) + pipeline.finish() == []
