"""Runs added up: the figures of a set of runs, of each recipe, and of each honest crowd."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.evaluation.judging import CampaignRow, Judged


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of several runs. Shares are of the sums; None where there is nothing to divide by."""

    runs: int
    campaigns: int
    found: int
    found_share: float | None
    found_or_asked_share: float | None
    attack_accounts: int
    covered_share: float | None
    median_hours_to_first: float | None
    median_requests_to_first: float | None
    share_after: float | None
    attacker_share: float | None  # Of all accounts, at most, in one run.
    false_incidents_per_day: float | None
    false_questions_per_day: float | None
    lead_false_incidents_per_day: float | None
    honest_touched_share: float | None
    honest_touched_worst: float | None
    honest_asked_share: float | None
    licensed_touched: int
    member_precision: float | None
    member_precision_worst: float | None


class RecipeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe over all runs. ``corpus_share`` is what was taken before the first incident, on average."""

    recipe: str
    held_out: bool
    campaigns: int
    found: int
    asked: int
    accounts: int
    covered_share: float | None
    hours_to_first: float | None
    requests_to_first: float | None
    share_after: float | None
    corpus_share: float | None
    precision: float | None


class CrowdSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One honest crowd over all runs: customers, and those that were accused or asked, on average over the runs."""

    crowd: str
    customers: float
    touched: float
    asked: float


def summarise(runs: Sequence[Judged]) -> Summary:
    """Add runs up."""
    rows = [row for run in runs for row in run.campaigns]
    hours = [row.hours_to_first for row in rows if row.hours_to_first is not None]
    requests = [row.requests_to_first for row in rows if row.requests_to_first is not None]
    found = sum(row.found for row in rows)
    precisions = [run.named_guilty / run.named for run in runs if run.named]
    days = sum(run.test_days for run in runs)
    return Summary(
        runs=len(runs),
        campaigns=len(rows),
        found=found,
        found_share=_share(found, len(rows)),
        found_or_asked_share=_share(sum(row.found or row.asked for row in rows), len(rows)),
        attack_accounts=sum(run.attackers for run in runs),
        covered_share=_share(sum(run.covered for run in runs), sum(run.attackers for run in runs)),
        median_hours_to_first=round(median(hours), 3) if hours else None,
        median_requests_to_first=round(median(requests), 1) if requests else None,
        share_after=_share(sum(run.attack_requests_after for run in runs), sum(run.attack_requests for run in runs)),
        attacker_share=max((round(_attackers(run), 5) for run in runs), default=None),
        false_incidents_per_day=_share(sum(run.false_incidents for run in runs), days),
        false_questions_per_day=_share(sum(run.false_questions for run in runs), _all_days(runs)),
        lead_false_incidents_per_day=_share(
            sum(run.lead_false_incidents for run in runs), sum(run.lead_days for run in runs)
        ),
        honest_touched_share=_share(sum(run.touched for run in runs), sum(run.honest_customers for run in runs)),
        honest_touched_worst=max((round(run.touched / run.honest_customers, 5) for run in runs), default=None),
        honest_asked_share=_share(sum(run.asked for run in runs), sum(run.honest_customers for run in runs)),
        licensed_touched=sum(run.licensed_touched for run in runs),
        member_precision=_share(sum(run.named_guilty for run in runs), sum(run.named for run in runs)),
        member_precision_worst=round(min(precisions), 4) if precisions else None,
    )


def by_recipe(runs: Iterable[Judged], held_out: frozenset[str]) -> list[RecipeSummary]:
    """Give one row for each recipe, by name."""
    rows: dict[str, list[CampaignRow]] = {}
    for run in runs:
        for row in run.campaigns:
            rows.setdefault(row.recipe, []).append(row)
    return [_recipe(name, found, held_out=name in held_out) for name, found in sorted(rows.items())]


def by_crowd(runs: Sequence[Judged]) -> list[CrowdSummary]:
    """Give one row for each honest crowd, the most touched first."""
    customers, touched, asked = Counter[str](), Counter[str](), Counter[str]()
    for run in runs:
        customers.update(run.honest_by)
        touched.update(run.touched_by)
        asked.update(run.asked_by)
    rows = [
        CrowdSummary(
            crowd=crowd,
            customers=round(count / len(runs), 2),
            touched=round(touched[crowd] / len(runs), 3),
            asked=round(asked[crowd] / len(runs), 3),
        )
        for crowd, count in customers.items()
    ]
    return sorted(rows, key=lambda row: (-row.touched, -row.asked, row.crowd))


def _recipe(name: str, rows: list[CampaignRow], *, held_out: bool) -> RecipeSummary:
    hours = [row.hours_to_first for row in rows if row.hours_to_first is not None]
    requests = [row.requests_to_first for row in rows if row.requests_to_first is not None]
    after = [row.share_after for row in rows]
    return RecipeSummary(
        recipe=name,
        held_out=held_out,
        campaigns=len(rows),
        found=sum(row.found for row in rows),
        asked=sum(row.asked for row in rows),
        accounts=sum(row.accounts for row in rows),
        covered_share=_share(sum(row.covered for row in rows), sum(row.accounts for row in rows)),
        hours_to_first=round(median(hours), 3) if hours else None,
        requests_to_first=round(median(requests), 1) if requests else None,
        share_after=round(sum(after) / len(after), 4),
        corpus_share=round(1 - sum(after) / len(after), 4),
        precision=_share(sum(row.named_guilty for row in rows), sum(row.named for row in rows)),
    )


def _attackers(run: Judged) -> float:
    return run.attackers / (run.attackers + sum(run.honest_by.values()))


def _all_days(runs: Sequence[Judged]) -> float:
    return sum(run.test_days + run.lead_days for run in runs)


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 5) if whole else None
