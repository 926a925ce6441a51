"""The loop: an hour of traffic through the gateway's own enforcement, then through the detector, then decisions, again.

Honest accounts and licensed customers send what they would have sent, and do not react: a request of theirs that is
refused or trimmed is harm, and is counted. Attackers react (``harvest``). Decisions are made at the end of each hop of
15 minutes, as in the live path, and hold from then on.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from services.adapters.kafka.murmur2 import partitions_of
from services.closed_loop.crowd import Made
from services.closed_loop.desk import Desk
from services.closed_loop.harvest import Harvest, Worker
from services.gateway.enforcement.enforcer import DecisionEnforcer
from services.gateway.middleware.enforcing import Asked
from services.gateway.publishing.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detection.config import DecisionPolicy
    from detection.pipeline import LocalPipeline
    from schemas.entitlement import Entitlement
    from services.closed_loop.crowd import Ask, Crowd, Party

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The detector that the loop is given, and who has a licence."""

    pipeline: LocalPipeline
    partitions: int
    hop_ms: int
    entitlements: tuple[Entitlement, ...]


@dataclass(slots=True)
class _Hands:
    """The simulated moment, for the enforcer."""

    ms: int

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class _Silent:
    loaded = True

    def start(self) -> None:
        """Do nothing: the loop fills the cache itself."""

    def stop(self) -> None:
        """Do nothing: nothing runs."""


@dataclass
class Harm:
    """Requests of honest accounts that were refused or trimmed, and whose they were."""

    accounts: set[str] = field(default_factory=set)
    requests: int = 0
    by_recipe: Counter[str] = field(default_factory=Counter)


@dataclass(order=True, slots=True)
class _Due:
    second: float
    order: int
    index: int = field(compare=False)
    ask: Ask = field(compare=False)
    tries: int = field(compare=False, default=0)


class Loop:
    """One run of one policy over one crowd."""

    def __init__(self, crowd: Crowd, parts: Parts, policy: DecisionPolicy, approval_ms: int | None, seed: int) -> None:
        self._crowd = crowd
        self._parts = parts
        self._clock = _Hands(crowd.start_ms)
        entitled = frozenset(each.subject for each in parts.entitlements)
        self.desk = Desk(policy, approval_ms, entitled)
        self._enforcer = DecisionEnforcer(self.desk.cache, _Silent(), Counts(), self._clock)
        self._seed = seed
        self._due: list[_Due] = []
        self._orders = 0
        self._begun = 0  # Parties that were there at the start: what they ask is what was planned.
        self.harvests: dict[str, Harvest] = {}
        self.honest, self.licensed = Harm(), Harm()
        self.honest_requests = self.alerts = 0
        for index, party in enumerate(crowd.parties):
            self._enlist(index, party)
        self._begun = len(crowd.parties)
        for harvest in self.harvests.values():
            harvest.means = 2 * len(harvest.workers)

    def run(self, days: int) -> None:
        """Play the days. Retries that are due after the end are not made."""
        self._tell(range(self._begun))
        self._parts.pipeline.entitle(self._parts.entitlements)
        for day in range(days):
            for index in range(len(self._crowd.parties)):
                self._schedule(index, day, 0.0)
            end = (day + 1) * _DAY_S
            self._play(day, end, days * _DAY_S)

    def _enlist(self, index: int, party: Party) -> None:
        if party.campaign is not None:
            harvest = self.harvests.get(party.campaign)
            if harvest is None:
                rng = np.random.default_rng([self._seed, 8, len(self.harvests)])
                harvest = self.harvests[party.campaign] = Harvest(party.campaign, rng, means=0)
            harvest.workers[index] = Worker(index)

    def _schedule(self, index: int, day: int, not_before: float) -> None:
        """Put a day's requests of one account into the queue, from this second of the loop on."""
        harvest = self.harvests.get(self._crowd.parties[index].campaign or "")
        asks = self._crowd.schedule(index, day)
        if harvest is not None:
            if index < self._begun:
                # What was planned stays planned, though the account be lost by then.
                harvest.planned += sum(ask.harvest for ask in asks)
            if harvest.workers[index].given_up:
                return
        for ask in asks:
            if ask.second >= not_before:
                self._push(ask.second, index, ask, 0)

    def _push(self, second: float, index: int, ask: Ask, tries: int) -> None:
        self._orders += 1
        heapq.heappush(self._due, _Due(second, self._orders, index, ask, tries))

    def _play(self, day: int, end: float, last: float) -> None:
        hop_s = self._parts.hop_ms / 1000
        hop_end = day * _DAY_S + hop_s
        while hop_end <= end:
            made = [one for due in self._until(hop_end) if (one := self._request(due, day, last)) is not None]
            self._detect(made, hop_end)
            hop_end += hop_s

    def _until(self, second: float) -> Iterator[_Due]:
        while self._due and self._due[0].second < second:
            yield heapq.heappop(self._due)

    def _request(self, due: _Due, day: int, last: float) -> Made | None:
        """Make one request; None where the gateway refused it, or nobody was left to ask: the model never saw it."""
        party = self._crowd.parties[due.index]
        harvest = self.harvests.get(party.campaign or "")
        if harvest is not None and harvest.workers[due.index].given_up:
            return None
        self._clock.ms = self._crowd.start_ms + round(due.second * 1000)
        action = self._enforcer.decide(Asked(party.account, party.organization, "chat"))
        if action is not None and action.finished is not None:
            action.finished()  # Answers take seconds, and limits of a minute and an hour hold longer than they.
        refused = action is not None and action.refusal is not None
        trim = action is not None and action.transform is not None
        if harvest is None:
            self._count_honest(party, touched=refused or trim)
        elif refused and action is not None and action.refusal is not None:
            wait = float(action.refusal.retry_after_seconds or 0)
            again, replace_it = harvest.refuse(due.index, action.refusal.status, wait, due.tries)
            if again is not None and due.second + again < last:
                self._push(due.second + again, due.index, due.ask, due.tries + 1)
            if replace_it:
                self._replace(harvest, due, day)
        else:
            part = due.ask.trimmed if trim else 1.0
            harvest.answer(due.index, due.second, part if due.ask.harvest else 0.0)
        return None if refused else Made(due.index, due.ask.turn, self._clock.ms)

    def _replace(self, harvest: Harvest, lost: _Due, day: int) -> None:
        wait = harvest.buy()
        index = self._crowd.buy(lost.index, self._clock.ms)
        self._enlist(index, self._crowd.parties[index])
        self._tell([index])
        self._schedule(index, day, lost.second + wait)

    def _count_honest(self, party: Party, *, touched: bool) -> None:
        self.honest_requests += 1
        if touched:
            harm = self.licensed if party.licensed else self.honest
            harm.accounts.add(party.account)
            harm.requests += 1
            harm.by_recipe[party.recipe] += 1

    def _tell(self, indices: Sequence[int]) -> None:
        columns = self._crowd.attributes(indices)
        owner = partitions_of(columns["account"], self._parts.partitions)
        for partition in np.unique(owner).tolist():
            self._parts.pipeline.attributes(partition, columns[owner == partition])

    def _detect(self, made: list[Made], hop_end: float) -> None:
        now_ms = self._crowd.start_ms + round(hop_end * 1000)
        alerts = []
        if made:
            columns = self._crowd.columns(made)
            owner = partitions_of(columns["account"], self._parts.partitions)
            for partition in np.unique(owner).tolist():
                alerts += self._parts.pipeline.feed(partition, columns[owner == partition])
        for partition in range(self._parts.partitions):
            alerts += self._parts.pipeline.advance(partition, now_ms)
        self.alerts += sum(alert.revision == 1 for alert in alerts)
        for alert in alerts:
            self.desk.alert(alert, now_ms)
        self.desk.approve_due(now_ms)
