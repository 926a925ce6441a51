"""One run of the detector over a sketched world, and what is made of it: alerts, and the clock of the whole."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.pools.learning import propose
from schemas.entitlement import Entitlement
from services.evaluation.backtest import Backtest, BacktestCounts
from services.evaluation.references import build_account_reference, build_references
from services.evaluation.sketched import identity
from services.simulator.world.build import licensed_organizations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Alert
    from detection.ranking.bars import BarsRecord
    from detection.ranking.head import HeadRecord
    from services.evaluation.sketched import Sketched

_CHUNK: Final = 20_000
_FOREVER_MS: Final = 1 << 52


@dataclass(frozen=True, slots=True)
class Run:
    """Every revision of every alert, in order; counts; and CPU seconds of the detector alone."""

    alerts: list[Alert]
    counts: BacktestCounts
    cpu_seconds: float


def entitlements() -> list[Entitlement]:
    """Give the licences of every world's licensed organisations."""
    who = identity()
    return [
        Entitlement(
            entitlement_id=f"evaluation-{place}",
            subject_kind="organization",
            subject=who.identifier("organization", name),
            kind="licence",
            valid_from_unix_ms=0,
            valid_until_unix_ms=_FOREVER_MS,
        )
        for place, name in enumerate(licensed_organizations())
    ]


def detect(
    world: Sketched,
    config: DetectionConfig,
    references: References,
    partitions: int,
    head: HeadRecord | None = None,
    bars: BarsRecord | None = None,
) -> Run:
    """Run the detector over a world, with what is known of its accounts and licences.

    ``head`` orders the alerts, ``bars`` hold some back.
    """
    run = Backtest(config, references, partitions, head=head, bars=bars)
    run.tell_columns(world.attributes, entitlements())
    began = time.process_time()
    alerts = list(run.play(_chunks(world.events)))
    return Run(alerts, run.counts, time.process_time() - began)


def learn(
    world: Sketched, until_ms: int, config: DetectionConfig, partitions: int, version: str, used: References | None
) -> References:
    """Make references from a world's requests before ``until_ms``, harvests among them if there are any.

    Beside references in use, attackers are kept out as ``references propose`` does; without any, all is taken.
    """
    run = Backtest(config, None, partitions)
    run.tell_columns(world.attributes, entitlements())
    for _ in run.play(_chunks(world.events[world.events["time"] < until_ms])):
        pass
    vectors, pools = run.pipeline.account_vectors, run.pipeline.pool_vectors
    if used is None:
        return build_references(version, vectors, pools)
    return propose(version, vectors, pools, used, config, build_account_reference).references


def without_configuration(world: Sketched) -> Sketched:
    """Take the settings out of every request, as where a campaign copies everybody's: those keys then find nothing."""
    events = world.events.copy()
    events["configuration"] = 0
    return type(world)(events, world.harvest, world.attributes, world.truth)


def _chunks(events: StructuredArray) -> Iterator[StructuredArray]:
    for start in range(0, len(events), _CHUNK):
        yield np.ascontiguousarray(events[start : start + _CHUNK])
