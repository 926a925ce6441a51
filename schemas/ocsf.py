"""Alerts as OCSF 1.7 Detection Findings (class 2004), for security lakes and SIEMs that read that and nothing else.

A projection: what OCSF has no word for stays behind, in ``unmapped``. Identifiers stay keyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from detection.ids import parse_rfc3339

if TYPE_CHECKING:
    from detection.outcomes import Alert, AlertKind, Severity

VERSION: Final = "1.7.0"
CLASS_UID: Final = 2004
_SEVERITY: Final[dict[Severity, tuple[int, str]]] = {
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
_RISK: Final[dict[Severity, int]] = {"low": 25, "medium": 50, "high": 75, "critical": 95}
# Create for a first revision, update for what grew.
_ACTIVITY: Final = {True: (1, "Create"), False: (2, "Update")}
_ATTACKS: Final = (
    ("AML.T0024.002", "Extract AI Model"),
    ("AML.T0040", "AI Model Inference API Access"),
)
_TYPES: Final[dict[AlertKind, list[str]]] = {
    "alert": ["Model extraction"],
    "verification_request": ["Verification request"],
    "exploration": ["Random sample"],
}
_MEMBERS: Final = 500  # Evidence is for a person to read; the whole list is in the alert.


def project(alert: Alert, product_version: str) -> dict[str, Any]:
    """Give the finding; equal alerts give equal findings."""
    activity_id, activity = _ACTIVITY[alert.revision == 1]
    severity_id, severity = _SEVERITY[alert.severity]
    return {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"Detection Finding: {activity}",
        "time": parse_rfc3339(alert.updated_time),
        "message": alert.title,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
        "confidence_score": round(100 * alert.confidence),
        "risk_score": _RISK[alert.severity],
        "verdict_id": 0,  # Unknown: a person gives the verdict.
        "disposition_id": 1,
        "disposition": "Allowed",
        "count": alert.requests,
        "metadata": {
            "version": VERSION,
            "uid": f"{alert.alert_id}.{alert.revision}",
            "product": {"name": "Stillwatch", "vendor_name": "Stillwatch", "version": product_version},
            "profiles": ["ai_operation", "security_control"],
            "labels": ["OWASP:LLM10:2025"],
        },
        "finding_info": {
            "uid": alert.alert_id,
            "title": alert.title,
            "types": _TYPES.get(alert.kind, [alert.kind.replace("_", " ").capitalize()]),
            "created_time": parse_rfc3339(alert.event_time),
            "modified_time": parse_rfc3339(alert.updated_time),
            "first_seen_time": parse_rfc3339(min((m.since for m in alert.members), default=alert.event_time)),
            "last_seen_time": parse_rfc3339(alert.updated_time),
            "related_events_count": len(alert.findings),
            "analytic": {
                "type_id": 3,  # Learning.
                "type": "Learning (ML/DL)",
                "name": alert.findings[0].detector if alert.findings else alert.lane,
                "version": alert.config_version,
            },
            "attacks": [{"technique": {"uid": uid, "name": name}, "version": "ATLAS"} for uid, name in _ATTACKS],
        },
        "evidences": [
            {
                "uid": member.account,
                "actor": {"user": {"uid": member.account, "org": {"uid": member.customer}}},
                "data": {"strength": member.strength, "requests": member.requests},
            }
            for member in sorted(alert.members, key=lambda m: (-m.strength, m.account))[:_MEMBERS]
        ],
        "anomaly_analyses": [
            {
                "analysis_targets": [{"name": alert.subject, "type": alert.subject_kind}],
                "anomalies": [
                    {
                        "observation_parameter": item.feature,
                        "observed_pattern": f"{item.actual:.6g}",
                        "observation_type": "score contribution",
                        "observations": [{"value": f"{item.weight:.6g}"}],
                    }
                    for item in alert.contributions
                ],
                "baselines": [
                    {"observation_parameter": item.feature, "observed_pattern": f"{item.expected:.6g}"}
                    for item in alert.contributions
                ],
            }
        ],
        "unmapped": {"kind": alert.kind, "lane": alert.lane, "revision": alert.revision, "score": alert.score},
    }


def encode(alert: Alert, product_version: str) -> bytes:
    """Give the finding as JSON."""
    return msgspec.json.encode(project(alert, product_version))
