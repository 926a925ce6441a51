"""An evaluation as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from services.simulator.corpus import OWN_TEXTS

if TYPE_CHECKING:
    from rich.console import Console

    from services.evaluation.prequential import Result, VariantResult
    from services.evaluation.truth import Evaluation


def tell_evaluation(judged: Evaluation, console: Console) -> None:
    """Print one row for each campaign, then what was found and what it cost honest accounts."""
    table = Table("campaign", "recipe", "accounts", "found", "named", "hours to alert", "requests after alert")
    for one in judged.campaigns:
        hours = "-" if one.hours_to_alert is None else f"{one.hours_to_alert:.2f}"
        after = "-" if one.requests_after_share is None else f"{one.requests_after_share:.0%}"
        found = "yes" if one.found else "no"
        table.add_row(one.campaign, one.recipe, str(one.accounts), found, f"{one.named_share:.0%}", hours, after)
    console.print(table)
    facts = Table("figure", "value", show_header=False)
    facts.add_row("campaigns found", f"{judged.campaigns_found} of {len(judged.campaigns)}")
    facts.add_row("attack accounts named", f"{judged.attack_accounts_named_share:.1%} of {judged.attack_accounts:,}")
    precision = "-" if judged.named_precision is None else f"{judged.named_precision:.1%}"
    facts.add_row("named accounts that are attackers", precision)
    facts.add_row(
        "honest accounts named",
        f"{judged.honest_accounts_named:,} of {judged.honest_accounts:,} ({judged.honest_named_share:.2%})",
    )
    for recipe, count in judged.honest_named_by_recipe.items():
        facts.add_row(f"  {recipe}", str(count))
    facts.add_row("alerts", str(judged.alerts))
    facts.add_row("false incidents", f"{judged.false_incidents} ({judged.false_incidents_per_day:.2f} a day)")
    facts.add_row("verification requests to honest customers", str(judged.false_verification_requests))
    console.print(facts)


def tell_result(result: Result, console: Console) -> None:
    """Print what was run, the figures of every variant, and recipes and crowds of the first one."""
    seeds = ", ".join(map(str, result.seeds))
    marked = " (for tuning)" if result.tuned_on else ""
    console.print(
        f"seeds {seeds}{marked}; {result.honest:,} honest accounts and crowds, {result.days} days of which "
        f"{result.lead_days} lead; references {result.references}; "
        f"{result.requests_per_cpu_second:,.0f} requests a CPU second"
    )
    # Worlds of other texts are other worlds: figures of the two must not be compared by accident.
    public = [source for source in result.sources if source != OWN_TEXTS]
    console.print(f"texts and traces: {len(public)} public files" if public else "texts: the project's own alone")
    names = result.variants[0].summary.__struct_fields__ if result.variants else ()
    table = Table("figure", *(variant.name for variant in result.variants))
    for name in names:
        table.add_row(name.replace("_", " "), *(_plain(getattr(v.summary, name)) for v in result.variants))
    console.print(table)
    for variant in result.variants[:1]:
        _tell_recipes(variant, console)
        _tell_crowds(variant, console)


def _tell_recipes(variant: VariantResult, console: Console) -> None:
    table = Table("recipe", "found", "asked", "of", "covered", "hours", "requests", "share after", "precision")
    for row in variant.recipes:
        name = f"{row.recipe} *" if row.held_out else row.recipe
        figures = (row.covered_share, row.hours_to_first, row.requests_to_first, row.share_after, row.precision)
        table.add_row(name, str(row.found), str(row.asked), str(row.campaigns), *map(_plain, figures))
    console.print(table)


def _tell_crowds(variant: VariantResult, console: Console) -> None:
    table = Table("honest crowd", "customers", "accused", "asked")
    for row in variant.crowds:
        if row.touched or row.asked:
            table.add_row(row.crowd, *map(_plain, (row.customers, row.touched, row.asked)))
    console.print(table)


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"
