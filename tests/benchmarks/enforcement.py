"""Time of one enforcement decision: ``python -m tests.benchmarks.enforcement``. Memory only, no network, one process.

Holds a campaign of 100,000 accounts and 500 decisions about single ones, then decides about requests of members, of
other restricted accounts and of strangers in turn; prints microseconds at the median and at p99, and the cost of taking
one record (signature and all).
"""

from __future__ import annotations

import json
import sys
import time

from detection.ids import rfc3339
from services.adapters.clock import SystemClock
from services.adapters.signatures import Signer, Verifier
from services.gateway.enforcement.cache import DecisionCache
from services.gateway.enforcement.enforcer import DecisionEnforcer
from services.gateway.middleware.enforcing import Asked
from services.gateway.publishing.counts import Counts
from tests.unit.test_signatures import decision

MEMBERS, SINGLES, REQUESTS = 100_000, 500, 20_000


class Still:
    """A follower that follows nothing."""

    loaded = True

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def main() -> None:
    """Measure and print one line of JSON."""
    signer, clock = Signer(bytes(32)), SystemClock()
    now = clock.now_ms()
    moments = {"effective_at": rfc3339(now), "expires_at": rfc3339(now + 86_400_000)}
    cache = DecisionCache(Verifier([signer.public], "bench"))
    members = [f"{number:016x}" for number in range(MEMBERS)]
    campaign = decision(subject="c" * 16, members=members, action="trim", dry_run=False, **moments)
    records = [signer.sign(campaign, "bench")]
    for number in range(SINGLES):
        one = decision(
            subject_kind="account",
            subject=f"a{number:015x}",
            members=[],
            action="block",
            sequence=8 + number,
            **moments,
        )
        records.append(signer.sign(one, "bench"))
    began = time.perf_counter()
    for raw in records:
        if cache.take(raw, now) != "applied":
            raise SystemExit("a record of the benchmark's own was refused")
    taken = (time.perf_counter() - began) / len(records)
    enforcer = DecisionEnforcer(cache, Still(), Counts(), clock)
    asked = [
        Asked((members[number % MEMBERS], f"a{number % SINGLES:015x}", f"f{number:015x}")[number % 3], "", "chat")
        for number in range(REQUESTS)
    ]
    spent = []
    for each in asked:
        start = time.perf_counter_ns()
        action = enforcer.decide(each)
        spent.append(time.perf_counter_ns() - start)
        if action is not None and action.finished is not None:
            action.finished()
    spent.sort()
    told = {
        "requests": len(spent),
        "decide_p50_us": round(spent[len(spent) // 2] / 1000, 2),
        "decide_p99_us": round(spent[len(spent) * 99 // 100] / 1000, 2),
        "take_mean_us": round(taken * 1e6, 1),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
