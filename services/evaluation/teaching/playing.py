"""Worlds to queues: every revision of every alert that the detector raises, each with the truth about those it names.

Thresholds are lower than those shipped, and what an analyst sees is cut by a budget instead: at the shipped ones a
world raises a handful of alerts, nearly all right, and no order of them could be better or worse than another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from detection.outcomes import Alert
from services.evaluation import sketched
from services.evaluation.trial import detect
from services.simulator.world.actors import DAY_MS
from services.simulator.world.build import World, choose_recipes, deal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.ranking.head import HeadRecord
    from services.evaluation.plan import Plan, Tell
    from services.evaluation.sketched import Sketched

NAMED: Final = 0.5
POOL_THRESHOLD: Final = 1.0  # Of 2.6.
ACCOUNT_THRESHOLD: Final = 0.7  # Of 1.8.
EXPLORED: Final = 0.02  # Of 0.0005: these worlds have hundreds of subjects, not millions.
_MANY: Final = 1000  # Alerts an hour: the cut is made here, not there.


class Shown(msgspec.Struct, frozen=True):
    """One revision, and what a careful person would find. ``campaign`` is the one that most of its guilty belong to."""

    alert: Alert
    guilty: bool
    campaign: str = ""


class Played(msgspec.Struct, frozen=True):
    """One run: its revisions in order, and its campaigns with their recipes."""

    seed: int
    run: int
    start_ms: int
    end_ms: int
    campaigns: dict[str, str]
    revisions: list[Shown]


def permissive(config: DetectionConfig) -> DetectionConfig:
    """Give the configuration of this trial: lower thresholds, more exploration, no budget."""
    replace = msgspec.structs.replace
    return replace(
        config,
        pools=replace(config.pools, threshold=POOL_THRESHOLD, alerts_per_hour=_MANY),
        accounts=replace(config.accounts, threshold=ACCOUNT_THRESHOLD, alerts_per_hour=_MANY),
        links=replace(config.links, alerts_per_hour=_MANY),
        probes=replace(config.probes, alerts_per_hour=_MANY),
        incidents=replace(config.incidents, alerts_per_hour=_MANY),
        exploration=replace(config.exploration, share=EXPLORED),
    )


def platform(runs: Sequence[Played]) -> Played:
    """Put the runs of a seed together: its honest crowd once, and the campaigns of all.

    Runs share the crowd, so its alerts come in each; of an alert that several have, the first run's stands.
    """
    owner: dict[str, int] = {}
    revisions = [
        each for run in runs for each in run.revisions if owner.setdefault(each.alert.alert_id, run.run) == run.run
    ]
    revisions.sort(key=lambda each: (each.alert.updated_time, each.alert.alert_id, each.alert.revision))
    campaigns = {name: recipe for run in runs for name, recipe in run.campaigns.items()}
    return Played(runs[0].seed, -1, runs[0].start_ms, runs[0].end_ms, campaigns, revisions)


@dataclass(frozen=True, slots=True)
class Player:
    """Plays the worlds of a plan; what was played before is read from ``folder``."""

    plan: Plan
    config: DetectionConfig
    references: References
    tell: Tell
    folder: Path

    def play(self, seed: int) -> Iterator[Played]:
        """Give the runs of one seed: each has the same honest crowd and other campaigns."""
        for number, whole in self._worlds(seed):
            path = self.folder / f"{self._name(seed, number)}.msgpack"
            if path.is_file():
                yield msgspec.msgpack.decode(path.read_bytes(), type=Played)
                continue
            self.tell(f"seed {seed}, run {number + 1}")
            world = whole()
            options = self.plan.world(seed)
            played = Played(
                seed,
                number,
                options.start_ms,
                options.start_ms + options.days * DAY_MS,
                {row["campaign"]: row["recipe"] for row in world.truth.values() if row["campaign"]},
                [_shown(alert, world.truth) for alert in self._alerts(world, None)],
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.msgpack.encode(played))
            yield played

    def replay(self, seed: int, run: int, head: HeadRecord) -> list[Alert]:
        """Play one run again with a head that orders its alerts."""
        self.tell(f"seed {seed}, run {run + 1}, with a head")
        whole = next(whole for number, whole in self._worlds(seed) if number == run)
        return self._alerts(whole(), head)

    def _alerts(self, world: Sketched, head: HeadRecord | None) -> list[Alert]:
        return detect(world, self.config, self.references, self.plan.partitions, head).alerts

    def _worlds(self, seed: int) -> Iterator[tuple[int, Callable[[], Sketched]]]:
        plan = self.plan
        world = World(self.plan.world(seed))
        sketch = partial(sketched.sketch_block, world, folder=plan.cache)
        honest = sketch(world.honest)
        recipes = choose_recipes(plan.recipes, plan.family)
        for number, run in enumerate(deal(recipes, len(honest.truth), plan.prevalence, seed)):
            yield number, partial(sketched.with_campaigns, world, honest, run, sketch)

    def _name(self, seed: int, run: int) -> str:
        digest = hashlib.blake2b(digest_size=8)
        plan = self.plan
        told = (self.plan.world(seed), run, plan.recipes, plan.family, plan.prevalence, plan.partitions)
        for part in (repr(told), repr(self.config), self.references.version):
            digest.update(part.encode() + b"\0")
        return f"{seed}-{run}-{digest.hexdigest()}"


def _shown(alert: Alert, truth: Mapping[str, Mapping[str, Any]]) -> Shown:
    about = [one.account for one in alert.members if one.strength > NAMED]
    about = about or [one.account for one in alert.members if one.strength >= NAMED]
    about = about or [one.account for one in alert.members]
    campaigns = [campaign for account in about if (campaign := truth[account]["campaign"])]
    guilty = 2 * len(campaigns) > len(about)
    return Shown(alert, guilty, max(sorted(set(campaigns)), key=campaigns.count, default="") if guilty else "")
