"""The loop: an hour of traffic through the gateway's own enforcement, then through the detector, then decisions, again.

Honest accounts and licensed customers send what they would have sent, and do not react: a request of theirs that is
refused or trimmed is harm, and is counted. Attackers react (``harvest``). Decisions are made at the end of each hop of
15 minutes, as in the live path, and hold from then on.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from schemas.columns import attribute_columns, event_columns
from services.adapters.kafka.murmur2 import partitions_of
from services.closed_loop.desk import Desk
from services.closed_loop.harvest import Harvest, Worker
from services.gateway.enforcement.enforcer import DecisionEnforcer
from services.gateway.middleware.enforcing import Asked
from services.gateway.publishing.counts import Counts
from services.simulator.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detection.config import DecisionPolicy
    from detection.pipeline import LocalPipeline
    from schemas.account_attributes import AccountAttributes
    from schemas.entitlement import Entitlement
    from schemas.request_event import RequestEvent
    from services.simulator.behaviour import Turn
    from services.simulator.population import SimulatedAccount

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop is given. ``event_of`` sketches a record as a gateway does; ``attributes_of`` tells an account."""

    pipeline: LocalPipeline
    partitions: int
    hop_ms: int
    event_of: Callable[[dict[str, Any]], RequestEvent]
    attributes_of: Callable[[SimulatedAccount], AccountAttributes]
    account_of: Callable[[str], str]
    organization_of: Callable[[str], str]
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
    turn: Turn = field(compare=False)
    tries: int = field(compare=False, default=0)


class Loop:
    """One run of one policy over one population."""

    def __init__(self, traffic: LoopTraffic, parts: Parts, policy: DecisionPolicy, approval_ms: int | None) -> None:
        self._traffic = traffic
        self._population = traffic.population
        self._parts = parts
        self._clock = _Hands(self._population.start_ms)
        entitled = frozenset(each.subject for each in parts.entitlements)
        self.desk = Desk(policy, approval_ms, entitled)
        self._enforcer = DecisionEnforcer(self.desk.cache, _Silent(), Counts(), self._clock)
        self._rng = np.random.default_rng([traffic.seed, 7])
        self._due: list[_Due] = []
        self._orders = 0
        self._ids: dict[int, tuple[str, str]] = {}
        self.harvests: dict[str, Harvest] = {}
        self.honest, self.licensed = Harm(), Harm()
        self.honest_requests = self.alerts = 0
        for index, account in enumerate(self._population.accounts):
            self._enlist(index, account)
        for harvest in self.harvests.values():
            harvest.means = 2 * len(harvest.workers)

    def run(self, days: int) -> None:
        """Play the days. Retries that are due after the end are not made."""
        self._tell(self._population.accounts)
        self._parts.pipeline.entitle(self._parts.entitlements)
        for day in range(days):
            for index in range(len(self._population.accounts)):
                self._schedule(index, day, 0.0)
            end = (day + 1) * _DAY_S
            self._play(day, end, days * _DAY_S)

    def _enlist(self, index: int, account: SimulatedAccount) -> None:
        self._ids[index] = (
            self._parts.account_of(account.key),
            self._parts.organization_of(account.organization) if account.organization else "",
        )
        if account.campaign is not None:
            harvest = self.harvests.get(account.campaign)
            if harvest is None:
                rng = np.random.default_rng([self._traffic.seed, 8, len(self.harvests)])
                harvest = self.harvests[account.campaign] = Harvest(account.campaign, rng, means=0)
            harvest.workers[index] = Worker(index)

    def _schedule(self, index: int, day: int, not_before: float) -> None:
        """Put a day's requests of one account into the queue, from this second of the loop on."""
        account = self._population.accounts[index]
        harvest = self.harvests.get(account.campaign or "")
        if harvest is not None and harvest.workers[index].given_up:
            return
        original = harvest is not None and account.created_at_ms <= self._population.start_ms
        for second, _, turn in self._traffic.schedule(index, day):
            if day * _DAY_S + second >= not_before:
                self._push(day * _DAY_S + second, index, turn, 0)
                if original and harvest is not None:
                    harvest.planned += 1

    def _push(self, second: float, index: int, turn: Turn, tries: int) -> None:
        self._orders += 1
        heapq.heappush(self._due, _Due(second, self._orders, index, turn, tries))

    def _play(self, day: int, end: float, last: float) -> None:
        hop_s = self._parts.hop_ms / 1000
        hop_end = day * _DAY_S + hop_s
        while hop_end <= end:
            events = [event for due in self._until(hop_end) if (event := self._request(due, day, last)) is not None]
            self._detect(events, hop_end)
            hop_end += hop_s

    def _until(self, second: float) -> Iterator[_Due]:
        while self._due and self._due[0].second < second:
            yield heapq.heappop(self._due)

    def _request(self, due: _Due, day: int, last: float) -> RequestEvent | None:
        """Make one request; gives its event, or None where the gateway refused it: the model never saw it."""
        account = self._population.accounts[due.index]
        harvest = self.harvests.get(account.campaign or "")
        if harvest is not None and harvest.workers[due.index].given_up:
            return None
        self._clock.ms = self._population.start_ms + round(due.second * 1000)
        action = self._enforcer.decide(Asked(*self._ids[due.index], "chat"))
        if action is not None and action.finished is not None:
            action.finished()  # Answers take seconds, and limits of a minute and an hour hold longer than they.
        refused = action is not None and action.refusal is not None
        trim = action is not None and action.transform is not None
        if harvest is None:
            self._count_honest(account, touched=refused or trim)
        elif refused and action is not None and action.refusal is not None:
            wait = float(action.refusal.retry_after_seconds or 0)
            again, replace_it = harvest.refuse(due.index, action.refusal.status, wait, due.tries)
            if again is not None and due.second + again < last:
                self._push(due.second + again, due.index, due.turn, due.tries + 1)
            if replace_it:
                self._replace(harvest, account, due.second, day)
        else:
            kept = self._traffic.length_of(account, due.turn)
            wanted = max(kept, 1)
            harvest.answer(due.index, due.second, min(1.0, 512 / wanted) if trim else 1.0)
        if refused:
            return None
        return self._parts.event_of(self._traffic.record(due.index, due.turn, self._clock.ms, self._rng))

    def _replace(self, harvest: Harvest, like: SimulatedAccount, second: float, day: int) -> None:
        account, wait = harvest.buy(self._population, like, self._clock.ms)
        index = len(self._population.accounts)
        self._population.accounts.append(account)
        self._enlist(index, account)
        self._tell([account])
        self._schedule(index, day, second + wait)

    def _count_honest(self, account: SimulatedAccount, *, touched: bool) -> None:
        self.honest_requests += 1
        if touched:
            harm = self.licensed if account.group == "licensed" else self.honest
            harm.accounts.add(account.key)
            harm.requests += 1
            harm.by_recipe[account.recipe] += 1

    def _tell(self, accounts: list[SimulatedAccount]) -> None:
        columns = attribute_columns([self._parts.attributes_of(account) for account in accounts])
        owner = partitions_of(columns["account"], self._parts.partitions)
        for partition in np.unique(owner).tolist():
            self._parts.pipeline.attributes(partition, columns[owner == partition])

    def _detect(self, events: list[RequestEvent], hop_end: float) -> None:
        now_ms = self._population.start_ms + round(hop_end * 1000)
        alerts = []
        if events:
            columns = event_columns(events)
            owner = partitions_of(columns["account"], self._parts.partitions)
            for partition in np.unique(owner).tolist():
                alerts += self._parts.pipeline.feed(partition, columns[owner == partition])
        for partition in range(self._parts.partitions):
            alerts += self._parts.pipeline.advance(partition, now_ms)
        self.alerts += sum(alert.revision == 1 for alert in alerts)
        for alert in alerts:
            self.desk.alert(alert, now_ms)
        self.desk.approve_due(now_ms)


class LoopTraffic(Traffic):
    """The simulator's traffic, request by request and not day by day."""

    def schedule(self, index: int, day: int) -> list[tuple[float, int, Turn]]:
        """Give one account's requests of a day, by second."""
        return self._schedule(index, day)

    def record(self, index: int, turn: Turn, time_ms: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give one request and its response."""
        return self._record(self.population.accounts[index], index, turn, time_ms, rng)

    def length_of(self, account: SimulatedAccount, turn: Turn) -> int:
        """Give how long the answer would be, tokens."""
        settings = {**account.client.settings, **account.settings}
        return min(turn.output_tokens, int(settings.get("max_tokens", 32_000)))
