"""What is asked of the model: the traffic, what must be kept, and what a worker may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from services.errors import StillwatchError

if TYPE_CHECKING:
    from services.capacity.coefficients import Coefficients

MOST_REQUESTS: Final = 1e8  # A second; ten thousand times what was measured says nothing any more.
MOST_ACCOUNTS: Final = 1e10


class DemandError(StillwatchError):
    """What is asked cannot be planned."""

    exit_code = 2
    hint = "`stillwatch plan --help` has the units."


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic in requests a second and accounts; shares are between 0 and 1, and every other unit is in the name."""

    requests_per_second: float
    accounts: float
    retention_days: float  # Of the topic of requests.
    database_days: float
    hop_seconds: float
    lateness_seconds: float
    checkpoint_seconds: float
    partition_accounts: float  # More than so many in a partition, and the least recent are forgotten.
    partition_pairs: float  # Pools that stay small, by customer, that a partition keeps.
    alerts_per_hour: float
    most_partitions: int
    headroom: float
    growth: float
    replication: float
    worker_gigabytes: float
    recovery_seconds: float
    session_seconds: float
    active_share: float
    raw_share: float
    characters: float
    largest_account: float
    largest_pool: float
    members: float
    revisions: float
    broker_terabytes: float
    broker_megabytes_per_second: float

    def __post_init__(self) -> None:
        """Refuse what is no number, is out of its bounds, or asks for nothing."""
        for name, value in msgspec.structs.asdict(self).items():
            if not math.isfinite(value):
                raise DemandError(f"{_words(name)} must be a number.")
        for name in ("headroom", "active_share", "raw_share", "largest_account", "largest_pool"):
            if not 0 <= getattr(self, name) <= 1:
                raise DemandError(f"{_words(name)} is a share: between 0 and 1.")
        if self.headroom > MOST_HEADROOM:
            raise DemandError(f"headroom leaves no core to work with: at most {MOST_HEADROOM}.")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise DemandError(f"{_words(name)} must be more than 0.")
        for name in ("growth", "replication", "accounts"):
            if getattr(self, name) < 1:
                raise DemandError(f"{_words(name)} must be at least 1.")

    def require_known_size(self) -> None:
        """Refuse what is so large that nothing measured says anything of it; raises DemandError."""
        if self.requests_per_second > MOST_REQUESTS or self.accounts > MOST_ACCOUNTS:
            raise DemandError(f"At most {MOST_REQUESTS:,.0f} requests a second and {MOST_ACCOUNTS:,.0f} accounts.")

    @property
    def busy(self) -> float:
        """Give the share of a core that may be used when all is well."""
        return 1 - self.headroom

    @property
    def active(self) -> float:
        """Give the accounts that may send in a hop."""
        return max(self.accounts * self.active_share, 1.0)

    @property
    def hop_requests(self) -> float:
        """Give the requests of a hop."""
        return self.requests_per_second * self.hop_seconds

    def times(self, factor: float) -> Demand:
        """Give the same with so many times the requests and the accounts."""
        return msgspec.structs.replace(
            self,
            requests_per_second=self.requests_per_second * factor,
            accounts=max(self.accounts * factor, 1.0),
        )


MOST_HEADROOM: Final = 0.95
_POSITIVE: Final = (
    "requests_per_second",
    "retention_days",
    "database_days",
    "active_share",
    "worker_gigabytes",
    "recovery_seconds",
    "broker_terabytes",
    "broker_megabytes_per_second",
)


def _words(name: str) -> str:
    return name.replace("_", " ")


def assumed(known: Coefficients, given: dict[str, float | None]) -> dict[str, float]:
    """Give every assumption: what was given for it, else what the file says."""
    return {
        name: assumption.value if (value := given.get(name)) is None else value
        for name, assumption in known.assumptions.items()
    }
