"""What the loop measured: one row for each campaign and policy, and the harm to those who did nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import msgspec
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from services.closed_loop.loop import Harm, Loop

_WIDTH: Final = 720
_ROW: Final = 26
_LEFT: Final = 190
_COLOURS: Final = {"observe": "#9aa5b1", "throttle": "#e0a030", "ladder": "#2f7d5d"}


class CampaignCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one campaign got and paid. ``corpus_share`` is of what it would have asked without Stillwatch."""

    campaign: str
    policy: str
    accounts: int
    planned: int
    sent: int
    answered: int
    refused: int
    corpus_share: float
    hours_to_half: float | None
    accounts_burnt: int
    accounts_bought: int


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Whose requests were refused or trimmed though they harvest nothing, or have a licence."""

    stage: str
    policy: str
    honest_accounts: int
    honest_requests: int
    honest_by_recipe: dict[str, int]
    licensed_accounts: int
    licensed_requests: int
    requests_of_all_honest: int
    alerts: int
    decisions: dict[str, int]


class ClosedLoop(msgspec.Struct, frozen=True, kw_only=True):
    """All runs; of a world there are several, each with other campaigns among the same honest accounts."""

    scenario: str
    seed: int
    days: int
    approval_hours: float
    costs: list[CampaignCost]
    touched: list[Touched]


def costs_of(loop: Loop, policy: str, accounts: dict[str, int]) -> list[CampaignCost]:
    """Give a row for each campaign of a finished run; ``accounts`` are those that it began with."""
    return [
        CampaignCost(
            campaign=name,
            policy=policy,
            accounts=accounts[name],
            planned=each.planned,
            sent=each.sent,
            answered=each.answered,
            refused=each.refused,
            corpus_share=round(each.corpus / each.planned, 4) if each.planned else 0.0,
            hours_to_half=each.hours_to(0.5),
            accounts_burnt=each.burnt,
            accounts_bought=each.bought,
        )
        for name, each in sorted(loop.harvests.items())
    ]


def touched_by(loop: Loop, policy: str, stage: str) -> Touched:
    """Give the harm of a finished run."""
    honest: Harm = loop.honest
    return Touched(
        stage=stage,
        policy=policy,
        honest_accounts=len(honest.accounts),
        honest_requests=honest.requests,
        honest_by_recipe=dict(sorted(honest.by_recipe.items())),
        licensed_accounts=len(loop.licensed.accounts),
        licensed_requests=loop.licensed.requests,
        requests_of_all_honest=loop.honest_requests,
        alerts=loop.alerts,
        decisions=dict(sorted(loop.desk.issued.items())),
    )


def tell(result: ClosedLoop, console: Console) -> None:
    """Print both tables."""
    table = Table(
        "campaign", "policy", "accounts", "planned", "answered", "refused", "corpus", "half by", "burnt", "bought"
    )
    for each in sorted(result.costs, key=lambda row: row.campaign):
        half = "never" if each.hours_to_half is None else f"{each.hours_to_half:.1f} h"
        table.add_row(
            each.campaign,
            each.policy,
            f"{each.accounts:,}",
            f"{each.planned:,}",
            f"{each.answered:,}",
            f"{each.refused:,}",
            f"{each.corpus_share:.1%}",
            half,
            str(each.accounts_burnt),
            str(each.accounts_bought),
        )
    console.print(table)
    harm = Table(
        "in", "policy", "honest accounts touched", "their requests", "licensed accounts touched", "alerts", "decisions"
    )
    for one in result.touched:
        recipes = ", ".join(f"{name} {count}" for name, count in one.honest_by_recipe.items())
        harm.add_row(
            one.stage,
            one.policy,
            str(one.honest_accounts),
            f"{one.honest_requests:,} of {one.requests_of_all_honest:,}" + (f" ({recipes})" if recipes else ""),
            str(one.licensed_accounts),
            str(one.alerts),
            ", ".join(f"{name} {count}" for name, count in one.decisions.items()) or "none",
        )
    console.print(harm)


def picture(result: ClosedLoop) -> str:
    """Draw the shares of the corpus as bars, in SVG."""
    names = sorted({each.campaign for each in result.costs})
    lines: list[str] = []
    y = 44
    for name in names:
        lines.append(f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for each in [row for row in result.costs if row.campaign == name]:
            wide = max(1.0, (_WIDTH - _LEFT - 120) * min(each.corpus_share, 1.0))
            lines.append(
                f'<rect x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_ROW - 6}" '
                f'fill="{_COLOURS.get(each.policy, "#555")}"/>'
                f'<text x="{_LEFT + wide + 6:.1f}" y="{y + 15}">{each.corpus_share:.1%} {escape(each.policy)}</text>'
            )
            y += _ROW
        y += 14
    title = f"Share of the corpus that each campaign obtained in {result.days} days"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="13" '
        f'fill="#1f2933"><title>{title}</title><rect width="{_WIDTH}" height="{y}" fill="#fff"/>'
        f'<text x="12" y="24" font-size="15">{title}</text>{"".join(lines)}</svg>\n'
    )
