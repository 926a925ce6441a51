"""Writes the tables of the documentation from the tables of the code: ``make docs``.

A page says where a table stands by a pair of comments, ``<!-- table: settings -->`` and ``<!-- end -->``; what lies
between them is replaced. A test compares, so a table that has drifted fails the build.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detection.families import FAMILIES
from detection.features.catalogue import ACCOUNT_FEATURES
from detection.features.pools import CATALOGUE
from schemas.records import RECORDS
from schemas.topics import REQUESTS, TOPICS
from services.capacity import coefficients
from services.capacity.path import steps
from services.capacity.plan import make_plan
from services.cli import plan as capacity
from services.evaluation import page as evaluation
from services.evaluation import pictures as evaluation_pictures
from services.evaluation.teaching import page as labels
from services.gateway.configuration import GATEWAY_SETTINGS
from services.settings import Settings
from services.telemetry.log_events import LOG_EVENTS
from services.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.capacity.coefficients import Coefficients
    from services.capacity.demand import Demand

PAGES: Final = Path(__file__).parent
EVALUATION: Final = PAGES / "evaluation.json"
LABELS: Final = PAGES / "labels.json"
_SLOT: Final = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_HOUR: Final = 3_600_000
# Where the path of docs/capacity.md leads, by factors of ten.
PATH_RATE: Final = 1e6
PATH_ACCOUNTS: Final = 1e8


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append((f"`STILLWATCH_{name.upper()}`", default, field.description or ""))
    return _table(("setting", "default", "meaning"), rows)


def _gateway_settings() -> str:
    return _table(
        ("setting", "default", "meaning"),
        [(f"`{name}`", f"`{default}`" if default else "", meaning) for name, default, meaning in GATEWAY_SETTINGS],
    )


def _metrics() -> str:
    rows = [(f"`{each.name}`", each.kind, ", ".join(each.labels), each.meaning) for each in METRICS]
    return _table(("metric", "kind", "labels", "meaning"), rows)


def _log_events() -> str:
    return _table(("event", "meaning"), [(f"`{name}`", meaning) for name, meaning in LOG_EVENTS.items()])


def _topics() -> str:
    def kept(milliseconds: int) -> str:
        return "for ever" if milliseconds < 0 else f"{milliseconds // _HOUR} h"

    rows = [
        (f"`{each.name}`", each.key, each.carries, each.width, each.cleanup, kept(each.retention_ms)) for each in TOPICS
    ]
    return _table(("topic", "key", "carries", "width", "cleanup", "kept"), rows)


def _records() -> str:
    rows = [
        (f"`{each.type}`", f"`{each.topic.name}`", each.promise, f"[schema](../schemas/json/{each.file_name})")
        for each in RECORDS
    ]
    return _table(("record", "topic", "promise", "JSON Schema"), rows)


def _account_features() -> str:
    rows = [
        (f"`{each.name}`", f"`{each.formula}`", each.unit, each.direction, each.small_samples)
        for each in ACCOUNT_FEATURES
    ]
    return _table(("feature", "formula", "unit", "suspicious when", "has a value"), rows)


def _pool_features() -> str:
    rows = [
        (f"`{each.name}`", f"`{each.formula}`", each.direction, "yes" if each.scored else "context", each.small_samples)
        for each in CATALOGUE
    ]
    return _table(("feature", "formula", "suspicious when", "scored", "small samples"), rows)


def _families() -> str:
    rows = [
        (str(family.value), f"`{family.name.lower()}`", fact.attribute, fact.group) for family, fact in FAMILIES.items()
    ]
    return _table(("number", "family", "members share", "reference group"), rows)


def _evaluation(kind: str) -> Callable[[], str]:
    def table() -> str:
        if not EVALUATION.is_file():
            return _table(("result",), [("none is committed yet",)])
        result = evaluation.read_result(EVALUATION)
        heads: dict[str, tuple[Sequence[str], Iterable[Sequence[str]]]] = {
            "run": (("what", "value"), evaluation.run_rows(result)),
            "figures": (evaluation.figure_head(result), evaluation.figure_rows(result)),
            "recipes": (
                ("recipe", "found", "asked", "named", "hours", "requests", "share after", "precision"),
                evaluation.recipe_rows(result),
            ),
            "crowds": (("honest crowd", "customers", "accused", "asked"), evaluation.crowd_rows(result)),
            "baselines": (
                ("method", "attack accounts flagged", "honest accounts flagged"),
                evaluation.baseline_rows(result),
            ),
            "poisoning": (
                ("attackers' share of the lead days", "caps", "attack accounts named", "honest customers accused"),
                evaluation.poisoning_rows(result),
            ),
        }
        names, rows = heads[kind]
        told = list(rows)
        return _table(names, told) if told else _table(("result",), [("the committed result has no such trial",)])

    return table


def _labels(kind: str) -> Callable[[], str]:
    def table() -> str:
        if not LABELS.is_file():
            return _table(("result",), [("none is committed yet",)])
        result = labels.read_result(LABELS)
        heads: dict[str, tuple[Sequence[str], Iterable[Sequence[str]]]] = {
            "run": (("what", "value"), labels.run_rows(result)),
            "figures": (labels.LABEL_HEAD, labels.label_rows(result)),
            "worlds": (labels.SEED_HEAD, labels.seed_rows(result)),
            "adversaries": (("adversary", "campaigns"), labels.adversary_rows(result)),
            "silenced": (labels.SILENCED_HEAD, labels.silenced_rows(result)),
        }
        return _table(*heads[kind])

    return table


def _demand(known: Coefficients) -> Demand:
    # The settings as they ship, whatever this machine's are.
    kept_days = REQUESTS.retention_ms / (24 * _HOUR)
    return capacity.demand_of(known, Settings.model_construct(), PATH_RATE, PATH_ACCOUNTS, kept_days, {})


def _capacity(kind: str) -> Callable[[], str]:
    def table() -> str:
        known = coefficients.load()
        demand = _demand(known)
        if kind == "path":
            return _table(capacity.PATH_COLUMNS, [capacity.path_row(step) for step in steps(demand, known)])
        if kind == "ceilings":
            reached = make_plan(demand, known).ceilings
            return _table(
                ("at requests/s", "is reached", "then"),
                [(capacity.amount(each.requests_per_second), each.what, each.then) for each in reached],
            )
        if kind == "checks":
            return _table(
                ("what", "size", "predicted", "measured", "unit", "error"),
                [
                    (
                        each.what,
                        each.point,
                        capacity.amount(each.predicted),
                        capacity.amount(each.measured),
                        each.unit,
                        f"{each.error:+.1%}",
                    )
                    for each in known.checks
                ],
            )
        if kind == "assumptions":
            rows = known.assumptions.items()
            return _table(
                ("assumed", "value", "unit", "why"),
                [(f"`{name}`", f"{each.value:g}", each.unit, each.reason) for name, each in rows],
            )
        return _table(
            ("coefficient", "value", "range", "unit", "meaning"),
            [
                (f"`{name}`", f"{each.value:.3g}", f"{each.low:.3g} - {each.high:.3g}", each.unit, each.meaning)
                for name, each in known.coefficients.items()
            ],
        )

    return table


def _pictures() -> str:
    if not EVALUATION.is_file():
        return "No result is committed yet, so there is nothing to draw.\n"
    return "".join(f"![{name.partition('.')[0]}]({name})\n" for name in PICTURES)


PICTURES: Final = {
    "evaluation-recipes.svg": evaluation_pictures.recipes_picture,
    "evaluation-crowds.svg": evaluation_pictures.crowds_picture,
}
TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": _settings,
    "gateway-settings": _gateway_settings,
    "metrics": _metrics,
    "log-events": _log_events,
    "topics": _topics,
    "records": _records,
    "account-features": _account_features,
    "pool-features": _pool_features,
    "families": _families,
    "evaluation-run": _evaluation("run"),
    "evaluation-pictures": _pictures,
    "evaluation-figures": _evaluation("figures"),
    "evaluation-recipes": _evaluation("recipes"),
    "evaluation-crowds": _evaluation("crowds"),
    "evaluation-baselines": _evaluation("baselines"),
    "evaluation-poisoning": _evaluation("poisoning"),
    "labels-run": _labels("run"),
    "labels-figures": _labels("figures"),
    "labels-worlds": _labels("worlds"),
    "labels-adversaries": _labels("adversaries"),
    "labels-silenced": _labels("silenced"),
    "capacity-path": _capacity("path"),
    "capacity-ceilings": _capacity("ceilings"),
    "capacity-checks": _capacity("checks"),
    "capacity-assumptions": _capacity("assumptions"),
    "capacity-coefficients": _capacity("coefficients"),
}


def render(page: str) -> str:
    """Give the page with every table as the code has it now; raises KeyError for a table that nobody makes."""
    return _SLOT.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", page)


def main() -> int:
    """Rewrite every page that has tables, and the pictures; tell which pages changed."""
    if EVALUATION.is_file():
        result = evaluation.read_result(EVALUATION)
        for name, draw in PICTURES.items():
            (PAGES / name).write_text(draw(result), encoding="utf-8")
    for path in sorted(PAGES.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"rewrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
