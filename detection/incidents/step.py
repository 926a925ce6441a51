"""The incidents job's step: findings in, alerts out. An incident is one alert that grows, never a storm.

Findings wait until every partition of the accounts and the pools job has closed their hop, then they are taken by
score, lane and family: the order of arrival, redelivery and restarts cannot change an alert. Incidents are never
merged with each other, so that no honest crowd can become the bridge between two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from detection.accounts.purposes import PURSUED
from detection.ids import digest_hex, rfc3339
from detection.incidents import kindred
from detection.incidents.incident import Incident
from detection.incidents.kindred import Kindred, KindredState
from detection.incidents.links import Links, LinkState
from detection.outcomes import Finding
from detection.policy.entitlements import Entitlements, Validity
from detection.ranking.bars import Bars
from detection.ranking.exploring import Explored, is_drawn, show, take_in
from detection.ranking.head import TrainedHead
from detection.ranking.holding import draw_of, held_by_lane, is_held, standing
from detection.ranking.ranker import Ranker

if TYPE_CHECKING:
    from detection.config import DetectionConfig
    from detection.outcomes import Alert, Member
    from detection.policy.entitlements import EntitlementLike
    from detection.ranking.bars import BarsRecord
    from detection.ranking.head import HeadRecord
    from detection.ranking.proposing import Standing

_HOUR_MS: Final = 3_600_000
_LEAST_CUSTOMERS: Final = 3  # What is left of a pool once the entitled are out must still be a group.
_FIRST: Final = frozenset({"link", "probe"})
_GROUPS: Final = frozenset({"pool", "link"})
COINCIDENCE: Final = "coincidence"  # The detector of raw facts that only lane G reads.
_FACTS: Final = frozenset({COINCIDENCE, PURSUED})
_ENTITLED_SHARE: Final = 0.5


class LaneSwitches(Protocol):
    """What every lane's configuration has."""

    @property
    def shadow(self) -> bool: ...  # noqa: D102 - Findings are counted and raise nothing.
    @property
    def alerts_per_hour(self) -> int: ...  # noqa: D102 - The lane's budget of new incidents.


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: int = 1
    closed_hop: int
    sources: dict[str, list[int]]
    waiting: list[Finding]
    incidents: dict[str, Incident]
    entitlements: dict[str, dict[str, Validity]]
    budget_hour: int
    budget_used: dict[str, int]  # By lane.
    shadowed: int = 0
    suppressed: int
    links: LinkState = msgspec.field(default_factory=LinkState)
    kindred: KindredState = msgspec.field(default_factory=KindredState)
    ratios: list[float] = []
    explored: Explored = msgspec.field(default_factory=Explored)


class IncidentsStep:
    """State of all open incidents. Pure."""

    def __init__(self, config: DetectionConfig, accounts_partitions: int, pools_partitions: int) -> None:
        self._config = config
        self._policy = config.incidents
        self._hop_ms = config.clocking.hop_ms
        self._lanes: dict[str, LaneSwitches] = {
            "pool": config.pools,
            "account": config.accounts,
            "link": config.links,
            "probe": config.probes,
            "entitlement": config.entitlements,
        }
        self.closed_hop = -1
        self.suppressed = 0  # Findings that entitlements cleared.
        self._sources: dict[str, list[int]] = {"accounts": [-1] * accounts_partitions, "pools": [-1] * pools_partitions}
        self._waiting: dict[int, dict[str, Finding]] = {}
        self._incidents: dict[str, Incident] = {}
        self._by_customer: dict[str, set[str]] = {}  # Core customers of campaigns, to alert ids.
        self._by_account: dict[str, set[str]] = {}  # Named accounts of campaigns, to alert ids.
        self._by_subject: dict[str, str] = {}
        self._entitlements = Entitlements()
        self._links = Links(config)
        self._kindred = Kindred(config)
        self._budget_hour = -1
        self._budget_used: dict[str, int] = {}
        self.shadowed = 0  # Findings of lanes in shadow.
        self._ranker = Ranker(config.incidents.verified_share)
        self._explored = Explored()
        self._bars = Bars()
        self._alerts: list[Alert] = []

    @property
    def unraised(self) -> int:
        """Number of incidents that wait for the budget."""
        return len(self._waiting_incidents())

    @property
    def held(self) -> dict[str, int]:
        """Number of incidents that wait for more evidence or a lower bar, by lane."""
        return held_by_lane(self._incidents.values(), self._bars)

    @property
    def standing(self) -> list[Standing]:
        """Everything that stands open, raised or not."""
        return standing(one for one in self._incidents.values() if one.is_confirmed(self._policy))

    def entitle(self, entitlement: EntitlementLike) -> None:
        """Add or replace an entitlement; it holds for hops that end within its time."""
        self._entitlements.entitle(entitlement)

    def order_by(self, head: HeadRecord | None) -> None:
        """Let this head have its say in the order from the next hop that closes; None: scores alone.

        Raises ValueError where its parameters are not those of a head; then the one before stays.
        """
        self._ranker.head = None if head is None else TrainedHead.of(head)

    def hold_by(self, bars: BarsRecord | None) -> None:
        """Hold back what lies below these bars from the next hop that closes; None: the configured thresholds alone.

        What was raised stays so. Raises ValueError where the parameters are no bars; then those before stay.
        """
        self._bars = Bars() if bars is None else Bars.of(bars)

    @property
    def bars(self) -> str:
        """Name the bars in use; "" where there are none."""
        return self._bars.name

    def bar_of(self, lane: str) -> float:
        """Give what a lane's threshold is multiplied with; 1 where there is no bar."""
        return self._bars.of_lane(lane)

    @property
    def head(self) -> str:
        """Name the head that has a say; "" where there is none."""
        return "" if self._ranker.head is None else self._ranker.head.name

    def add(self, finding: Finding) -> None:
        """Take one finding; one that was taken before, or whose hop is closed, changes nothing."""
        if finding.hop > self.closed_hop:
            self._waiting.setdefault(finding.hop, {})[finding.finding_id] = finding

    def closed(self, job: str, partition: int, hop: int) -> None:
        """Note that a source sends nothing more for ``hop`` or before it; works off what is complete with it.

        ``job`` is ``accounts`` or ``pools``, ``partition`` one of its partitions.
        """
        sources = self._sources[job]
        if hop <= sources[partition]:
            return
        sources[partition] = hop
        complete = min(min(hops) for hops in self._sources.values())
        while (due := self._next_hop()) is not None and due <= complete:
            self._close(due)
            self.closed_hop = due
        self.closed_hop = max(self.closed_hop, complete)

    def take(self) -> list[Alert]:
        """Give the alerts made since the last call, in the order in which they were made."""
        alerts, self._alerts = self._alerts, []
        return alerts

    def state(self) -> bytes:
        """Write everything that ``load`` needs; equal states give equal bytes."""
        return _encoder.encode(
            _State(
                closed_hop=self.closed_hop,
                sources=self._sources,
                waiting=[
                    self._waiting[hop][key] for hop in sorted(self._waiting) for key in sorted(self._waiting[hop])
                ],
                incidents=self._incidents,
                entitlements=self._entitlements.known,
                budget_hour=self._budget_hour,
                budget_used=self._budget_used,
                shadowed=self.shadowed,
                suppressed=self.suppressed,
                links=self._links.state,
                kindred=self._kindred.state,
                ratios=self._ranker.history,
                explored=self._explored,
            )
        )

    def load(self, raw: bytes) -> None:
        """Take what ``state`` wrote; raises ValueError where the partitions differ."""
        state = _decoder.decode(raw)
        if {job: len(hops) for job, hops in state.sources.items()} != {
            job: len(hops) for job, hops in self._sources.items()
        }:
            raise ValueError("the state was written for other partition counts")
        self.closed_hop, self.suppressed, self.shadowed = state.closed_hop, state.suppressed, state.shadowed
        self._sources, self._waiting, self._incidents = state.sources, {}, state.incidents
        for finding in state.waiting:
            self.add(finding)
        self._entitlements = Entitlements(state.entitlements)
        self._links = Links(self._config, state.links)
        self._kindred = Kindred(self._config, state.kindred)
        self._budget_hour, self._budget_used = state.budget_hour, state.budget_used
        # Head and bars are not part of the state: they stand on their own topic, and are read anew.
        self._ranker = Ranker(self._policy.verified_share, state.ratios, self._ranker.head)
        self._explored = state.explored
        self._by_customer, self._by_account, self._by_subject = {}, {}, {}
        for incident in self._incidents.values():
            if not incident.peaks and incident.strongest is not None:  # Written before there were bars.
                incident.peaks[incident.strongest.lane] = incident.ratio
            self._index(incident)

    def _next_hop(self) -> int | None:
        """Give the next hop in which something happens: findings, or fresh budget for incidents that wait for it."""
        due = [hop for hop in self._waiting if hop > self.closed_hop]
        if self.unraised:
            hour = max(self._budget_hour + 1, self._hour(self.closed_hop + 1))
            due.append(max(-(-hour * _HOUR_MS // self._hop_ms), self.closed_hop + 1))
        return min(due, default=None)

    def _hour(self, hop: int) -> int:
        return hop * self._hop_ms // _HOUR_MS

    def _close(self, hop: int) -> None:
        self._forget_quiet(hop)
        waiting = self._waiting.pop(hop, {}).values()
        coincidences = sorted((one for one in waiting if one.detector == COINCIDENCE), key=lambda one: one.finding_id)
        draws = [one for one in waiting if is_drawn(one)]
        findings = [one for one in waiting if one.detector not in _FACTS and not is_drawn(one)]
        findings += self._links.close(hop, coincidences)
        findings += self._kindred.close(hop, [one for one in waiting if one.detector == PURSUED])
        touched: dict[str, None] = {}
        for finding in sorted(findings, key=_precedence):
            if self._lanes[finding.lane].shadow:
                self.shadowed += 1
                continue
            incident = self._place(finding)
            if incident is not None:
                touched[incident.alert_id] = None
        time = rfc3339((hop + 1) * self._hop_ms)
        for alert_id in touched:
            incident = self._incidents[alert_id]
            if incident.revision and incident.grew(self._policy, self._hop_ms):
                self._raise(incident, hop, time)
        self._raise_new(hop, time)
        held = [draw_of(one) for one in map(self._incidents.__getitem__, touched) if is_held(one, self._bars)]
        self._explore(draws, [one for one in held if one is not None], hop, time)

    def _explore(self, draws: list[Finding], held: list[Finding], hop: int, time: str) -> None:
        """Show what was drawn and is in no incident, or in one that is held; who is entitled is not looked at."""
        free = [one for one in draws if one.subject not in self._by_subject and one.subject not in self._by_account]
        for finding in take_in(self._explored, free + held, self._hour(hop), self._config.exploration):
            members, _ = self._entitlements.split(finding.members, (hop + 1) * self._hop_ms)
            if members:
                self._alerts.append(show(finding, members, self._ranker.history, time))

    def _place(self, finding: Finding) -> Incident | None:
        """Put a finding where it belongs; None where entitlements clear it."""
        members, entitled = list(finding.members), 0.0
        if self._config.entitlements.enabled:
            members, entitled = self._entitlements.split(finding.members, (finding.hop + 1) * self._hop_ms)
        grouped = _is_group(finding)
        short = len({member.customer for member in members}) < _least_customers(finding)
        if entitled > _ENTITLED_SHARE or not members or short:
            self.suppressed += 1
            return None
        incident = self._incidents.get(self._by_subject.get(finding.subject, ""))
        if incident is None:
            incident = self._joins(finding, members, grouped=grouped)
        if incident is None:
            alert_id = digest_hex("incident", finding.lane, finding.subject, finding.hop)
            incident = self._incidents[alert_id] = Incident(
                alert_id=alert_id,
                lane=finding.lane,
                subject_kind="campaign" if grouped else "account",
                subject=finding.subject,
                last_hop=finding.hop,
            )
        incident.absorb(finding, members)
        self._index(incident)
        return incident

    def _joins(self, finding: Finding, members: list[Member], *, grouped: bool) -> Incident | None:
        """Give the campaign that this finding belongs to: the one that holds most of it, of equals the eldest id."""
        held: dict[str, int] = {}
        if grouped:
            names = {member.customer for member in members}
            index, least = self._by_customer, self._policy.join_share * len(names)
        else:
            names, index, least = {finding.subject}, self._by_account, 1.0
        for name in names:
            for alert_id in index.get(name, ()):
                held[alert_id] = held.get(alert_id, 0) + 1
        best = min(held, key=lambda alert_id: (-held[alert_id], alert_id), default="")
        return self._incidents[best] if best and held[best] >= least else None

    def _raise_new(self, hop: int, time: str) -> None:
        hour = self._hour(hop)
        if hour != self._budget_hour:
            self._budget_hour, self._budget_used = hour, {}
        for incident in sorted(self._waiting_incidents(), key=self._ranker.order):
            used = self._budget_used.get(incident.lane, 0)
            within = sum(self._budget_used.values()) < self._policy.alerts_per_hour
            if within and used < self._lanes[incident.lane].alerts_per_hour:
                self._raise(incident, hop, time)
                self._budget_used[incident.lane] = used + 1

    def _waiting_incidents(self) -> list[Incident]:
        return [
            one
            for one in self._incidents.values()
            if not one.revision and one.is_confirmed(self._policy) and not is_held(one, self._bars)
        ]

    def _raise(self, incident: Incident, hop: int, time: str) -> None:
        alert = incident.alert(hop, time, self._policy.verified_share, self._config.version)
        self._alerts.append(self._ranker.told(alert, incident))

    def _forget_quiet(self, hop: int) -> None:
        limit = hop - self._policy.quiet_ms // self._hop_ms
        self._explored.subjects = {subject: at for subject, at in self._explored.subjects.items() if at >= limit}
        for incident in [incident for incident in self._incidents.values() if incident.last_hop < limit]:
            del self._incidents[incident.alert_id]
            for index, names in ((self._by_customer, incident.core), (self._by_account, incident.members)):
                for name in names:
                    if name in index:
                        index[name].discard(incident.alert_id)
                        if not index[name]:
                            del index[name]
            for subject in incident.findings:
                self._by_subject.pop(subject, None)

    def _index(self, incident: Incident) -> None:
        for subject in incident.findings:
            self._by_subject[subject] = incident.alert_id
        if incident.subject_kind == "campaign":
            for customer in incident.core:
                self._by_customer.setdefault(customer, set()).add(incident.alert_id)
            for account in incident.members:
                self._by_account.setdefault(account, set()).add(incident.alert_id)


def _is_group(finding: Finding) -> bool:
    return finding.lane != "account" or finding.detector == kindred.DETECTOR


def _least_customers(finding: Finding) -> int:
    """Say how many must be left once the entitled are out."""
    if finding.lane in _GROUPS:
        return _LEAST_CUSTOMERS
    return kindred.LEAST_CUSTOMERS if finding.detector == kindred.DETECTOR else 1


def _precedence(finding: Finding) -> tuple[bool, float, str, str, str]:
    """Take links, probes and shared purposes first, which know who belongs together; then by score."""
    return (
        finding.lane not in _FIRST and finding.detector != kindred.DETECTOR,
        -finding.score / finding.threshold,
        finding.lane,
        finding.family,
        finding.finding_id,
    )


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_State)
