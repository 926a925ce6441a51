"""A case for other systems: STIX 2.1 without personal data: no account, customer, analyst or word of theirs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from services.dossiers.papers import alert_of

if TYPE_CHECKING:
    from schemas.alert import Alert

_SPACE: Final = uuid.UUID("6f0a4a53-9d0f-5f0b-9e0a-5711a7c40001")
TECHNIQUES: Final = (
    ("AML.T0024.002", "Extract AI Model"),
    ("AML.T0040", "AI Model Inference API Access"),
)
_CONFIRMED: Final = "true_positive"


def to_stix(case: dict[str, Any]) -> dict[str, Any]:
    """Give a bundle: who reports, which techniques, one indicator for each pool, and a report that holds them.

    Pool keys are keyed hashes of what the accounts share; they mean something to holders of the same key only. Equal
    cases give equal bundles, ids included.
    """
    alert, made = alert_of(case), case["about"]["made_at"]
    maker = _object("identity", "stillwatch", made, name="Stillwatch", identity_class="system")
    rest = [_technique(made, maker["id"], number, name) for number, name in TECHNIQUES]
    rest += _indicators(alert, made, maker["id"])
    report = _object(
        "report",
        f"report/{alert.alert_id}/{alert.revision}",
        made,
        created_by_ref=maker["id"],
        name=f"Coordinated harvesting of a language model, {alert.severity}",
        description=_description(case, alert),
        report_types=["indicator"],
        published=made,
        confidence=round(100 * alert.confidence),
        object_refs=[each["id"] for each in (maker, *rest)],
    )
    objects = [maker, *rest, report]
    return {"type": "bundle", "id": _id("bundle", f"{alert.alert_id}/{alert.revision}/{made}"), "objects": objects}


def _description(case: dict[str, Any], alert: Alert) -> str:
    labels = {row["label_id"]: row["verdict"] for row in case["judgement"]["labels"]}
    verdict = labels.get(case["judgement"]["standing_label_id"], "none")
    judged = "An analyst has confirmed it." if verdict == _CONFIRMED else "No analyst's confirmation stands."
    return (
        f"{len(alert.members)} accounts, {alert.requests} requests, {len(alert.findings)} findings; "
        f"first seen {alert.event_time}. {judged} It tells of coordinated requests and proves no distillation."
    )


def _indicators(alert: Alert, made: str, maker: str) -> list[dict[str, Any]]:
    pools = sorted({(each.family or each.lane, each.subject) for each in alert.findings if each.lane != "account"})
    return [
        _object(
            "indicator",
            f"indicator/{family}/{subject}",
            made,
            created_by_ref=maker,
            name=f"Pool of accounts by {family}",
            indicator_types=["anomalous-activity"],
            pattern=f"[x-stillwatch-pool:family = '{family}' AND x-stillwatch-pool:key = '{subject}']",
            pattern_type="stix",
            valid_from=alert.event_time,
        )
        for family, subject in pools
    ]


def _technique(made: str, maker: str, number: str, name: str) -> dict[str, Any]:
    reference = {"source_name": "mitre-atlas", "external_id": number}
    return _object("attack-pattern", number, made, created_by_ref=maker, name=name, external_references=[reference])


def _object(kind: str, seed: str, made: str, **values: Any) -> dict[str, Any]:
    head = {"type": kind, "spec_version": "2.1", "id": _id(kind, seed), "created": made, "modified": made}
    return head | values


def _id(kind: str, seed: str) -> str:
    return f"{kind}--{uuid.uuid5(_SPACE, f'{kind}/{seed}')}"
