"""Tables of ``docs/evaluation.md``, from a result that is committed beside it: ``docs/generate.py`` puts them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from services.evaluation.prequential import MAIN, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.evaluation.prequential import VariantResult

Rows = list[tuple[str, ...]]
_FIGURES: Final = (
    ("found_share", "campaigns found by an accusation", "≥ 95 %"),
    ("found_or_asked_share", "campaigns found, or asked about", ""),
    ("covered_share", "attack accounts named in an incident about their campaign", "≥ 97 %"),
    ("median_hours_to_first", "hours to the first incident, median", "≤ 1 h"),
    ("median_requests_to_first", "requests of the campaign until then, median", ""),
    ("share_after", "attack requests after it", "≥ 85 %"),
    ("attacker_share", "attackers' share of accounts, at most", "≤ 5 %"),
    ("false_incidents_per_day", "false incidents a day, attack days", "≤ 0.2"),
    ("lead_false_incidents_per_day", "false incidents a day, lead days", ""),
    ("false_questions_per_day", "verification requests about honest groups, a day", ""),
    ("honest_touched_share", "honest customers accused", "≤ 0.5 %"),
    ("honest_touched_worst", "the same, worst run", ""),
    ("honest_asked_share", "honest customers asked", ""),
    ("licensed_touched", "licensed customers accused", "0"),
    ("member_precision", "named members that are guilty", "≥ 95 %"),
    ("member_precision_worst", "the same, worst run", "≥ 95 %"),
)
_SHARES: Final = ("share", "precision", "touched_worst", "after")


def read_result(path: Path) -> Result:
    """Read a committed result; raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def run_rows(result: Result) -> Rows:
    """Give what was run."""
    seeds = ", ".join(map(str, result.seeds))
    return [
        ("seeds", seeds + (f" (for tuning: {', '.join(map(str, result.tuned_on))})" if result.tuned_on else "")),
        ("recipes", result.family),
        ("honest accounts besides the crowds", f"{result.honest:,}"),
        ("days, of which lead days", f"{result.days}, {result.lead_days}"),
        ("attackers' share of accounts, at most", f"{result.prevalence:.1%}"),
        ("references", result.references),
        ("configuration", result.config_version),
        ("requests played", f"{result.requests:,}"),
        ("requests a CPU second, detector alone", f"{result.requests_per_cpu_second:,.0f}"),
    ]


def figure_rows(result: Result) -> Rows:
    """Give the figures of every variant beside what is wanted."""
    return [
        (meaning, wanted, *(_figure(name, getattr(variant.summary, name)) for variant in result.variants))
        for name, meaning, wanted in _FIGURES
    ]


def figure_head(result: Result) -> Sequence[str]:
    """Give the head of the figures' table."""
    return ("figure", "wanted", *(variant.name for variant in result.variants))


def recipe_rows(result: Result) -> Rows:
    """Give one row for each recipe of the main variant."""
    return [
        (
            f"{row.recipe}{' (held out)' if row.held_out else ''}",
            f"{row.found} of {row.campaigns}",
            str(row.asked),
            _figure("share", row.covered_share),
            _figure("", row.hours_to_first),
            _figure("", row.requests_to_first),
            _figure("share", row.share_after),
            _figure("share", row.precision),
        )
        for row in _main(result).recipes
    ]


def crowd_rows(result: Result) -> Rows:
    """Give one row for each honest crowd of the main variant, averages over the runs."""
    return [(row.crowd, f"{row.customers:g}", f"{row.touched:.3g}", f"{row.asked:.3g}") for row in _main(result).crowds]


def baseline_rows(result: Result) -> Rows:
    """Give one row for each baseline, over all runs."""
    rows: Rows = []
    for method in dict.fromkeys(each.method for each in result.baselines):
        found = [each for each in result.baselines if each.method == method]
        caught = sum(each.flagged for each in found) / max(sum(each.attackers for each in found), 1)
        harmed = sum(each.honest_flagged for each in found) / max(sum(each.honest for each in found), 1)
        rows.append((method, f"{caught:.1%}", f"{harmed:.2%}"))
    return rows


def poisoning_rows(result: Result) -> Rows:
    """Give one row for each share and way of learning, over all seeds."""
    rows: Rows = []
    for share, caps in dict.fromkeys((each.share, each.caps) for each in result.poisoning):
        found = [each for each in result.poisoning if (each.share, each.caps) == (share, caps)]
        recall = sum(each.covered for each in found) / max(sum(each.attackers for each in found), 1)
        harm = sum(each.touched for each in found) / max(sum(each.honest_customers for each in found), 1)
        rows.append((f"{share:.0%}", "on" if caps else "off", f"{recall:.1%}", f"{harm:.2%}"))
    return rows


def _main(result: Result) -> VariantResult:
    return next(variant for variant in result.variants if variant.name == MAIN)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if any(part in name for part in _SHARES):
        return f"{value:.1%}" if value >= 0.02 or not value else f"{value:.2%}"  # noqa: PLR2004 - small shares in full
    return f"{value:,.3g}"
