"""Health: what /readyz says of a worker. Written by the loop, read by the health server's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.telemetry.health import CheckResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

POLL_SECONDS: Final = 30.0  # A loop that has not polled for so long is stuck, or the broker holds its transaction.
LAG_RECORDS: Final = 1_000_000


class WorkerHealth:
    """Single assignments only, so that the reader needs no lock. Times are ``monotonic`` seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.assigned: tuple[int, ...] | None = None
        self.recovering: tuple[int, ...] = ()
        self.recovered = (0, 0)  # State records read, and how many there are.
        self.polled = monotonic()
        self.committed: float | None = None
        self.lag = 0
        self.holder = ""
        self._beaten = monotonic()

    def beat(self) -> None:
        """Say that the loop moves, or waits for the broker with patience; costs one assignment."""
        self._beaten = self._monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return self._monotonic() - self._beaten

    def checks(self) -> Mapping[str, Callable[[], CheckResult]]:
        """Give the named checks."""
        return {
            "assignment": self._check_assignment,
            "recovery": self._check_recovery,
            "poll": self._check_poll,
            "lag": self._check_lag,
        }

    def _check_assignment(self) -> CheckResult:
        if self.assigned is None:
            return CheckResult(ready=False, detail="the group has not answered yet")
        return CheckResult(ready=True, detail=f"partitions {list(self.assigned)}")

    def _check_recovery(self) -> CheckResult:
        if self.recovering:
            records, total = self.recovered
            detail = f"reading the state of partitions {list(self.recovering)}: {records} of {total} records"
            return CheckResult(ready=False, detail=detail)
        return CheckResult(ready=True, detail="state is loaded")

    def _check_poll(self) -> CheckResult:
        age = self._monotonic() - self.polled
        return CheckResult(ready=age < POLL_SECONDS, detail=f"last poll {age:.1f} s ago")

    def _check_lag(self) -> CheckResult:
        detail = f"{self.lag} records wait" + (f"; {self.holder} holds the time back" if self.holder else "")
        return CheckResult(ready=self.lag < LAG_RECORDS, detail=detail)
