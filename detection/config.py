"""One frozen configuration for the whole detection core: live, shadow and backtest run the same code with it.

Every field tells its unit and why its default is what it is. ``version`` names the set in every finding and alert.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Clocking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Event time. A hop is the step at which panes close and subjects are scored."""

    hop_ms: int = 900_000  # 15 minutes: alerts within the hour at a cost of 96 closes a day.
    lateness_ms: int = 30_000  # Gateways flush within seconds; later events count in the hop that is still open.
    future_ms: int = 300_000  # Five minutes of clock skew; one event further ahead would make the rest late.
    past_ms: int = 691_200_000  # Eight days, a day past the longest retention of requests.
    idle_ms: int = 30_000  # Wall time without a record after which a partition's clock is moved on.


class AccountLane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lane A: accounts at their own count milestones, against honest accounts at the same count."""

    milestones: tuple[int, ...] = (40, 80, 160, 320, 640, 1280, 2560)
    enabled: bool = True
    shadow: bool = False  # Scored and counted, but raises nothing.
    alerts_per_hour: int = 10  # Budget; see IncidentPolicy.
    threshold: float = 1.8  # In (q95 - median) above the median; of held-out honest accounts 1 in 1,200 a week.
    # Chance that an account which pursues a purpose no more than the most honest one ever raises an alarm by it.
    purpose_alarms: float = 1e-4
    # Of those who share an account's settings, before any evidence: who may be part of the same. What lies beyond
    # this prior adds up over accounts with one purpose; docs/decisions/0033.
    kindred_share: float = 0.05
    maximum_kindred: int = 100_000  # Accounts with evidence of a purpose; the least recent go first.
    alert_floor: int = 40
    idle_ms: int = 7_776_000_000  # 90 days: an account that comes back after that begins anew.
    maximum_accounts: int = 1_000_000  # For each partition, 0.5 to 1 GB; the least recent go first.


class Forest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Half-space trees over account features, one forest for each partition."""

    trees: int = 20
    height: int = 8
    window: int = 500  # Learned rows; with the cap below, recall held at .91 under 20-80 % of hostile traffic.
    window_floor: float = 0.9  # Windows scored at least so are told, and of the others a share in turn:
    window_turns: int = 8  # each account's in one hop of so many. A window costs more than ten requests.
    learn_gap_hops: int = 24  # An account teaches at most once in 6 hours, however busy it is.


class PoolLane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lane P: exchangeability of customers in pools."""

    enabled: bool = True
    shadow: bool = False
    alerts_per_hour: int = 20
    minimum_customers: int = 3  # A fixed minimum of 20 misses most campaigns.
    minimum_requests: int = 30  # Where 60 were asked, the first alert of a campaign came half as late again.
    growth: float = 1.25  # A pool is scored again when its evidence has grown by a quarter.
    window_ms: int = 259_200_000  # Growing windows of at most 72 hours, then a new one.
    sample: int = 512  # Customers kept for each pool: those of the smallest mixed hash.
    stub_idle_ms: int = 86_400_000  # A pool below the minimum is forgotten after a day of silence.
    maximum_stubs: int = 4_000_000  # Pairs for each partition, about 80 MB; the oldest hops are forgotten first.
    maximum_members: int = 1_000_000  # Rows for each partition, about 700 MB; the least recent pools go first.
    threshold: float = 2.0  # In the same unit, of up to 8 customers; what it costs and brings: docs/decisions/0033.
    young_ms: int = 1_209_600_000  # 14 days.
    cohort_ms: int = 21_600_000  # First seen in the same 6 hours.
    member_share: float = 0.30  # Of the customer's own traffic.
    member_requests: int = 3
    member_deviations: float = 3.0  # Robust standard deviations from the core's medians.
    core_share: float = 0.5  # The core must be half of the pool.


class LinkLane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lane G: customers who send the same prompts within seconds of each other, or take over from refused keys."""

    enabled: bool = True
    shadow: bool = False
    alerts_per_hour: int = 10
    coincidences: int = 3  # Of a pair of customers, on different prompts, before they are linked.
    component: int = 4  # Customers that hang together by links; honest pairs exist, honest fours have not been seen.
    crowd: int = 12  # A prompt that more customers send at one moment is a published one, and links nobody.
    window_ms: int = 259_200_000  # Links older than 72 hours are forgotten.
    maximum_pairs: int = 200_000  # The oldest go first.
    handover_ms: int = 3_600_000  # A key that comes within the hour after another one was refused follows it.
    handover_chance: float = 0.005  # That so many newcomers come in those hours by chance, at most, to be told.
    maximum_watched: int = 50_000  # Networks with a refused key, for each partition; the least recent go first.


class ProbeLane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lane B: logit_bias vectors tried out on calls that ask for log probabilities and hardly any text."""

    enabled: bool = True
    shadow: bool = False
    alerts_per_hour: int = 10
    vectors: int = 20  # Distinct ones. An application sets one bias, or a few, and keeps them.
    output_tokens: int = 2  # At most; what is read are the log probabilities.
    idle_ms: int = 2_592_000_000  # An account without such a call for 30 days is forgotten.
    maximum_accounts: int = 50_000  # For each partition; the least recent go first.


class EntitlementLane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lane E: what an entitlement covers leaves a finding before anything else is asked of it."""

    enabled: bool = True  # Off: licensed customers are judged like any other, to see what the licences hide.
    shadow: bool = False
    alerts_per_hour: int = 10


class Exploration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Subjects below the thresholds that are shown all the same: labels of alerts alone never tell what was missed."""

    share: float = 0.0005  # Of scored pools and accounts, by a hash of their key; 0 draws nobody.
    alerts_per_hour: int = 1  # Budget, beside the alerts'; what is over it is not shown, and does not wait.


class IncidentPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How findings become alerts."""

    join_share: float = 0.30  # A pool joins an incident when this share of its members are members already.
    growth: float = 1.25  # A new revision when members or score grew by a quarter.
    refresh_ms: int = 21_600_000  # New names below that growth are told six hours after the last revision.
    alerts_per_hour: int = 20  # Budget; what is over it waits for the next hour, by priority.
    verified_share: float = 0.5  # A pool with more verified traffic than this asks instead of accusing.
    crowd: int = 16  # Customers: so many who share only what strangers share by design are not told at one look,
    looks: int = 2  # but when they were found in so many hops.
    quiet_ms: int = 604_800_000  # An incident without findings for a week is closed.


class DecisionPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What gateways are told about the members of an alert."""

    dry_run: bool = True  # Decisions are shown and not enforced until an operator says so.
    automatic: Literal["observe", "throttle", "trim", "challenge", "block"] = "throttle"  # Above it a lead approves.
    minimum_strength: float = 0.7  # Below it a member is a lead for analysts, not for gateways.
    minimum_confidence: float = 0.5  # Below it an alert is watched only; a score at its threshold has one half.
    escalate_ms: int = 21_600_000  # Six hours on a rung, and new evidence, before the next.
    jitter_ms: int = 600_000  # A restriction takes effect up to ten minutes late, so that thresholds cannot be probed.
    restrict_ms: int = 604_800_000  # A week: a wrong restriction ends by itself.
    allow_ms: int = 2_592_000_000  # Thirty days: nobody is asked about the same traffic every week.
    lapse_ms: int = 1_209_600_000  # Fourteen days after an entitlement's grace its holder is watched only: no cliff.
    requests_per_minute: int = 6  # Of a throttled account: a person reads an answer in ten seconds.
    concurrency: int = 1
    shared_per_account: float = 0.25  # Requests an hour for each account; a worker makes one or two.
    shared_floor: int = 10  # Requests an hour that are left to one account or a small group.
    max_tokens: int = 512  # Of a trimmed answer: a conversation goes on, a corpus of long answers does not.


class DetectionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can change what is detected."""

    version: str = "2026.11.5"
    clocking: Clocking = Clocking()
    accounts: AccountLane = AccountLane()
    forest: Forest = Forest()
    pools: PoolLane = PoolLane()
    links: LinkLane = LinkLane()
    probes: ProbeLane = ProbeLane()
    entitlements: EntitlementLane = EntitlementLane()
    exploration: Exploration = Exploration()
    incidents: IncidentPolicy = IncidentPolicy()
    decisions: DecisionPolicy = DecisionPolicy()
    seed: int = 20261123  # Of the half-space trees.
