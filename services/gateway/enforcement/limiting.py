"""Limits: a bucket of tokens for each account's minute and each subject's hour, a count for requests at the same time.

A bucket holds its period's worth at most, so an account may spend its minute at once and then waits. A subject's bucket
begins at a twelfth of its hour: it is there to slow down, not to invite a last harvest. What is idle is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from detection.policy.ladder import Limits

_SWEEP_EVERY: Final = 4096
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_EPSILON: Final = 1e-9  # Sums of a rate over time end a hair below a whole token.
_BUSY_SECONDS: Final = 1.0  # What to wait when too many requests are open: nobody knows when one ends.


@dataclass(slots=True)
class _Bucket:
    tokens: float
    stamp: float
    open: int = 0


class Limiter:
    """Buckets by account and by subject. Use it from one event loop."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Bucket] = {}
        self._subjects: dict[str, _Bucket] = {}
        self._calls = 0

    def __len__(self) -> int:
        return len(self._accounts) + len(self._subjects)

    def enter(self, account: str, subject: str, limits: Limits, now: float) -> float | None:
        """Let a request in (None; ``leave`` when it ends), or give the seconds after which another try may pass."""
        self._sweep(now)
        per_minute = max(limits.requests_per_minute, 1)
        per_hour = max(limits.shared_requests_per_hour, 1)
        own = _filled(self._accounts, account, per_minute / 60, float(per_minute), float(per_minute), now)
        shared = _filled(self._subjects, subject, per_hour / 3600, float(per_hour), max(per_hour / 12, 1.0), now)
        if own.open >= limits.concurrency:
            return _BUSY_SECONDS
        wait = max((1 - own.tokens) * 60 / per_minute, (1 - shared.tokens) * 3600 / per_hour)
        if wait > _EPSILON:
            return wait
        own.tokens -= 1
        shared.tokens -= 1
        own.open += 1
        return None

    def leave(self, account: str) -> None:
        """Note that a request that was let in has ended."""
        bucket = self._accounts.get(account)
        if bucket is not None:
            bucket.open = max(bucket.open - 1, 0)

    def _sweep(self, now: float) -> None:
        self._calls += 1
        if self._calls % _SWEEP_EVERY:
            return
        for buckets, seconds in ((self._accounts, _MINUTE), (self._subjects, _HOUR)):
            for name in [name for name, each in buckets.items() if not each.open and now - each.stamp > seconds]:
                del buckets[name]


def _filled(buckets: dict[str, _Bucket], name: str, rate: float, room: float, first: float, now: float) -> _Bucket:
    """Give the bucket, filled up to ``now``; a new one holds ``first``."""
    bucket = buckets.get(name)
    if bucket is None:
        bucket = buckets[name] = _Bucket(first, now)
    bucket.tokens = min(room, bucket.tokens + max(now - bucket.stamp, 0.0) * rate)
    bucket.stamp = now
    return bucket
