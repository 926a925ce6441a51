"""What one run's alerts are worth: per campaign, per honest crowd, and as a whole.

Words as in ``services.evaluation.truth``: *named* is a strength above one half; an incident is *guilty* when more than
half of those it names are attackers. Accusations (``alert``) and questions (``verification_request``) are told apart:
*found* is by an accusation, *asked* by a question alone. Attack requests are those of the harvest, not an attacker's
own traffic.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from services.evaluation.truth import named_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detection.outcomes import Alert
    from services.evaluation.sketched import Sketched

_LEAST_FOUND: Final = 3
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class CampaignRow(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign of one run. ``covered`` counts accounts that a guilty incident of either kind names."""

    campaign: str
    recipe: str
    accounts: int
    requests: int
    found: bool
    asked: bool
    covered: int
    hours_to_first: float | None
    requests_to_first: int | None
    share_after: float  # Of the harvest's requests that came after its first incident; 0 where there was none.
    named: int  # Named by the incidents that found or asked about this campaign,
    named_guilty: int  # and how many of those are attackers.


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Counts, so that runs add up; rates are made when they are told."""

    campaigns: list[CampaignRow]
    attackers: int
    covered: int
    attack_requests: int
    attack_requests_after: int
    honest_customers: int
    touched: int  # Honest customers whom an accusation names.
    asked: int  # Honest customers whom a question names, and no accusation.
    touched_by: dict[str, int]
    asked_by: dict[str, int]
    honest_by: dict[str, int]
    licensed: int
    licensed_touched: int
    named: int  # Pairs of accusation and named account,
    named_guilty: int  # and those that are attackers.
    false_incidents: int  # Accusations raised in the attack days that are not guilty.
    false_incidents_by: dict[str, int]  # By lane.
    false_questions: int
    incidents: int
    questions: int
    test_days: float
    lead_days: float
    lead_false_incidents: int  # Accusations in the lead days that are not guilty.


@dataclass(frozen=True, slots=True)
class _Incidents:
    final: dict[str, Alert]
    named: dict[str, dict[str, int]]
    guilty: set[str]
    attackers: frozenset[str]


def judge(alerts: Sequence[Alert], world: Sketched, start_ms: int, lead_ms: int, end_ms: int) -> Judged:
    """Judge one run; ``lead_ms`` is where the attack days begin."""
    # What is drawn at random is a sample to judge: neither an accusation nor a question.
    alerts = [alert for alert in alerts if alert.kind != "exploration"]
    attackers = {account: row for account, row in world.truth.items() if row["campaign"]}
    named = {key: dict(accounts) for key, accounts in named_at(alerts).items()}
    final = {alert.alert_id: alert for alert in alerts}
    guilty = {key for key in final if 2 * sum(a in attackers for a in named[key]) > len(named[key])}
    incidents = _Incidents(final, named, guilty, frozenset(attackers))
    accused = [key for key, alert in final.items() if alert.kind == "alert"]
    campaigns = _campaigns(world, attackers, incidents)
    honest = {account: row for account, row in world.truth.items() if account not in attackers}
    customers = _customers(world)
    crowd = {customers[account]: row["group"] or row["recipe"] for account, row in honest.items()}
    licensed = {customers[account] for account, row in honest.items() if row.get("licensed")}
    touched = {customers[a] for key in accused for a in named[key] if a in honest}
    asked = {customers[a] for key in final for a in named[key] if a in honest} - touched
    caught = {account for key in guilty for account in named[key]} & attackers.keys()
    false = [key for key in accused if key not in guilty]
    in_test = [key for key in false if _ms(final[key].event_time) > lead_ms]
    return Judged(
        campaigns=campaigns,
        attackers=len(attackers),
        covered=len(caught),
        attack_requests=sum(row.requests for row in campaigns),
        attack_requests_after=sum(round(row.requests * row.share_after) for row in campaigns),
        honest_customers=len(crowd),
        touched=len(touched),
        asked=len(asked),
        touched_by=dict(sorted(Counter(crowd[c] for c in touched).items())),
        asked_by=dict(sorted(Counter(crowd[c] for c in asked).items())),
        honest_by=dict(sorted(Counter(crowd.values()).items())),
        licensed=len(licensed),
        licensed_touched=len(licensed & touched),
        named=sum(len(named[key]) for key in accused),
        named_guilty=sum(a in attackers for key in accused for a in named[key]),
        false_incidents=len(in_test),
        false_incidents_by=dict(sorted(Counter(final[key].lane for key in in_test).items())),
        false_questions=sum(key not in guilty and final[key].kind != "alert" for key in final),
        incidents=len(accused),
        questions=len(final) - len(accused),
        test_days=(end_ms - lead_ms) / _DAY_MS,
        lead_days=(lead_ms - start_ms) / _DAY_MS,
        lead_false_incidents=len(false) - len(in_test),
    )


def _campaigns(world: Sketched, attackers: Mapping[str, Mapping[str, Any]], incidents: _Incidents) -> list[CampaignRow]:
    members: dict[str, set[str]] = defaultdict(set)
    for account, row in attackers.items():
        members[row["campaign"]].add(account)
    places = {int(account, 16): row["campaign"] for account, row in attackers.items()}
    sent: dict[str, list[int]] = defaultdict(list)
    harvest = world.events[world.harvest]
    for account, time in zip(harvest["account"].tolist(), harvest["time"].tolist(), strict=True):
        sent[places[account]].append(time)
    recipes = {row["campaign"]: row["recipe"] for row in attackers.values()}
    return [_campaign(name, recipes[name], members[name], sent[name], incidents) for name in sorted(members)]


def _campaign(name: str, recipe: str, accounts: set[str], sent: list[int], incidents: _Incidents) -> CampaignRow:
    least = min(_LEAST_FOUND, len(accounts))
    final, named = incidents.final, incidents.named
    finders = [key for key in incidents.guilty if len(accounts & named[key].keys()) >= least]
    accusing = [key for key in finders if final[key].kind == "alert"]
    first = min((_ms(final[key].event_time) for key in finders), default=None)
    covered = {account for key in incidents.guilty for account in accounts & named[key].keys()}
    before = len(sent) if first is None else int(np.searchsorted(sent, first))
    told = [account for key in finders for account in named[key]]
    return CampaignRow(
        campaign=name,
        recipe=recipe,
        accounts=len(accounts),
        requests=len(sent),
        found=bool(accusing),
        asked=bool(finders) and not accusing,
        covered=len(covered),
        hours_to_first=round((first - sent[0]) / _HOUR_MS, 3) if first is not None and sent else None,
        requests_to_first=before if first is not None else None,
        share_after=round(1 - before / len(sent), 4) if sent else 0.0,
        named=len(told),
        # Incidents that name two campaigns are guilty of both: what counts is that those they name are attackers.
        named_guilty=sum(account in incidents.attackers for account in told),
    )


def _customers(world: Sketched) -> dict[str, str]:
    attributes = world.attributes
    owner = np.where(attributes["organization"] > 0, attributes["organization"], attributes["account"])
    known = {f"{a:016x}": f"{o:016x}" for a, o in zip(attributes["account"].tolist(), owner.tolist(), strict=True)}
    return {account: known.get(account, account) for account in world.truth}


def _ms(moment: str) -> int:
    return int(np.datetime64(moment.removesuffix("Z"), "ms").astype(np.int64))
