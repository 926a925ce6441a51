"""Alerts against the truth: what was found, how early, whom it named, and whom it should not have.

Said plainly, because each word could flatter: a member is *named* when its strength is above one half (the account of
an account alert always is); an alert is *guilty* when more than half of those it names are attackers, else it is a
false incident; a campaign is *found* by a guilty alert that names three of its accounts, or all where it has fewer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from detection.columns import StructuredArray
    from detection.outcomes import Alert

NAMED: Final = 0.5
_LEAST_FOUND: Final = 3
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class TruthFileError(StillwatchError):
    """The truth file cannot be read: it wants JSON lines with ``account``, ``campaign`` (or null) and ``recipe``."""


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a truth file. ``group`` names an honest crowd that could look like a campaign."""

    account: str
    campaign: str | None = None
    recipe: str = ""
    group: str | None = None


class CampaignResult(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign. Shares are of its accounts and requests; None where the requests are not known."""

    campaign: str
    recipe: str
    accounts: int
    found: bool
    named_share: float
    hours_to_alert: float | None
    requests_before_alert: int | None
    requests_after_share: float | None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison. ``false_incidents`` count alerts; verification requests are told apart."""

    campaigns: list[CampaignResult]
    campaigns_found: int
    attack_accounts: int
    attack_accounts_named_share: float
    honest_accounts: int
    honest_accounts_named: int
    honest_named_share: float
    honest_named_by_recipe: dict[str, int]
    named_precision: float | None
    alerts: int
    false_incidents: int
    false_verification_requests: int
    days: float
    false_incidents_per_day: float


class Requests:
    """Times of every account's requests: a ``watch`` of the backtest. 16 bytes a request."""

    def __init__(self) -> None:
        self._parts: list[StructuredArray] = []

    def __call__(self, events: StructuredArray) -> None:
        """Keep one chunk's times."""
        part = np.zeros(len(events), [("account", "<u8"), ("time", "<i8")])
        part["account"], part["time"] = events["account"], events["time"]
        self._parts.append(part)

    def by_account(self) -> dict[int, list[int]]:
        """Give the request times of each account in ms, ascending."""
        times: dict[int, list[int]] = {}
        if self._parts:
            every = np.sort(np.concatenate(self._parts), order=("account", "time"))
            accounts, starts = np.unique(every["account"], return_index=True)
            for account, part in zip(accounts.tolist(), np.split(every["time"], starts[1:]), strict=True):
                times[account] = part.tolist()
        return times


def read_truth(path: Path) -> list[Truth]:
    """Read a truth file; raises TruthFileError."""
    decoder = msgspec.json.Decoder(Truth)
    try:
        return [decoder.decode(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        raise TruthFileError(f"{path}: {error}") from error


def evaluate(
    revisions: Sequence[Alert],
    truth: Iterable[Truth],
    ids: Mapping[str, str],
    times: Mapping[int, Sequence[int]] | None,
    span_ms: int,
) -> Evaluation:
    """Compare alerts with the truth. ``ids`` maps the truth's raw accounts to the product's; unknown ones sent nothing.

    ``revisions`` are all revisions in order, or only the last ones: then a member counts as named when a finding first
    named it. ``times`` are the requests' (None where only the alerts are at hand); ``span_ms`` is the traffic's length.
    """
    revisions = [alert for alert in revisions if alert.kind != "exploration"]  # A draw is no claim.
    known = {ids[row.account]: row for row in truth if row.account in ids}
    attackers = {account: row for account, row in known.items() if row.campaign}
    told = named_at(revisions)
    final = {alert.alert_id: alert for alert in revisions}
    guilty = {key for key, alert in final.items() if _is_guilty(alert, attackers)}
    members: dict[str, set[str]] = defaultdict(set)
    for account, row in attackers.items():
        members[row.campaign or ""].add(account)
    results = [
        _campaign(name, accounts, attackers, told, final, guilty, times) for name, accounts in sorted(members.items())
    ]
    named = {account for per_alert in told.values() for account in per_alert}
    caught = {account for key in guilty for account in told[key]} & attackers.keys()
    touched = [known[account].recipe for account in named if account in known and account not in attackers]
    false = [final[key] for key in final if key not in guilty]
    accused = sum(alert.kind == "alert" for alert in false)
    days = span_ms / _DAY_MS
    honest = len(known) - len(attackers)
    return Evaluation(
        campaigns=results,
        campaigns_found=sum(result.found for result in results),
        attack_accounts=len(attackers),
        attack_accounts_named_share=_share(len(caught), len(attackers)),
        honest_accounts=honest,
        honest_accounts_named=len(touched),
        honest_named_share=_share(len(touched), honest),
        honest_named_by_recipe=dict(sorted(Counter(touched).items())),
        named_precision=_share(len(named & attackers.keys()), len(named)) if named else None,
        alerts=len(final),
        false_incidents=accused,
        false_verification_requests=len(false) - accused,
        days=round(days, 4),
        false_incidents_per_day=round(accused / days, 4) if days else 0.0,
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _named(alert: Alert) -> dict[str, str]:
    """Give the accounts that an alert names, each with when a finding first named it."""
    return {
        member.account: member.since
        for member in alert.members
        if member.strength > NAMED or alert.subject_kind == "account"
    }


def named_at(revisions: Sequence[Alert]) -> dict[str, dict[str, int]]:
    """Give for each alert when it first named each account, ms: the time of the revision that did."""
    named: dict[str, dict[str, int]] = defaultdict(dict)
    complete = {alert.alert_id for alert in revisions if alert.revision == 1}
    for alert in revisions:
        for account, since in _named(alert).items():
            told = alert.updated_time if alert.alert_id in complete else max(since, alert.event_time)
            named[alert.alert_id].setdefault(account, _ms(told))
    # What a later revision takes back is not held against the alert, nor counted for it.
    final = {alert.alert_id: _named(alert) for alert in revisions}
    return {key: {a: t for a, t in accounts.items() if a in final[key]} for key, accounts in named.items()} | {
        key: {} for key in final if key not in named
    }


def _is_guilty(alert: Alert, attackers: Mapping[str, Truth]) -> bool:
    named = _named(alert)
    return 2 * sum(account in attackers for account in named) > len(named)


def _campaign(
    name: str,
    accounts: set[str],
    attackers: Mapping[str, Truth],
    told: Mapping[str, Mapping[str, int]],
    final: Mapping[str, Alert],
    guilty: set[str],
    times: Mapping[int, Sequence[int]] | None,
) -> CampaignResult:
    least = min(_LEAST_FOUND, len(accounts))
    finders = [key for key in guilty if len(accounts & told[key].keys()) >= least]
    alerted = min((_ms(final[key].event_time) for key in finders), default=None)
    named = {account for key in guilty for account in accounts & told[key].keys()}
    hours = before = after = None
    if times is not None:
        sent = sorted(time for account in accounts for time in times.get(int(account, 16), ()))
        before = len(sent) if alerted is None else int(np.searchsorted(sent, alerted))
        after = _share(len(sent) - before, len(sent))
        if alerted is not None and sent:
            hours = round((alerted - sent[0]) / _HOUR_MS, 2)
    return CampaignResult(
        campaign=name,
        recipe=attackers[min(accounts)].recipe,
        accounts=len(accounts),
        found=bool(finders),
        named_share=_share(len(named), len(accounts)),
        hours_to_alert=hours,
        requests_before_alert=before,
        requests_after_share=after,
    )


def _ms(moment: str) -> int:
    return int(np.datetime64(moment.removesuffix("Z"), "ms").astype(np.int64))
