"""What a dossier holds, read from the database at one moment: the alert's exact record, its history, its audit."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from detection.ranking.interval import wilson
from services.adapters.postgres import audit
from services.adapters.postgres.alerts import read_alert
from services.adapters.postgres.lifecycle import acts, quality
from services.adapters.postgres.moments import format_moment, read_moment
from services.adapters.postgres.tables import AlertRevisionRow, AuditRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from services.adapters.postgres.alerts import AlertDetail

MEMBERS: Final = 500
LIMITS: Final = (
    "It does not prove that a model was trained on what was collected: it tells that accounts asked as one collector.",
    "It does not name persons. Accounts and organisations are keyed identifiers; only the operator can resolve them.",
    "A member is a lead with a strength between 0 and 1. Honest accounts that share a client or network may be named.",
    "No text of any request or answer was kept, so none can be shown or examined.",
    "Identical people, tools or evaluations can look alike. A verdict, where there is one, is an analyst's judgement.",
)


def collect(session: Session, tenant: str, alert_id: str, now: datetime, version: str) -> dict[str, Any]:
    """Read a case; raises UnknownAlertError. The record of it in the audit is the caller's, after sealing."""
    found = read_alert(session, tenant, alert_id, members=MEMBERS)
    record = bytes(found.alert.record)
    return {
        "about": {
            "tenant": tenant,
            "alert_id": alert_id,
            "made_at": format_moment(now),
            "product": f"stillwatch {version}",
            "configuration": found.alert.config_version,
        },
        "record": {
            "revision": found.alert.revision,
            "sha256": hashlib.sha256(record).hexdigest(),
            "base64": base64.b64encode(record).decode(),
        },
        "revisions": _revisions(session, tenant, alert_id),
        "judgement": _judgement(session, tenant, found),
        "certainty": _certainty(session, tenant, found),
        "audit": _audit(session, tenant, alert_id),
        "cannot_be_concluded": list(LIMITS),
    }


def audit_row(told: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row of a case's audit as ``audit.link_hash`` takes it."""
    return {
        **told,
        "at": read_moment(told["at"]),
        "previous_hash": bytes.fromhex(told["previous_hash"]),
        "hash": bytes.fromhex(told["hash"]),
    }


def _revisions(session: Session, tenant: str, alert_id: str) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(AlertRevisionRow)
        .where(AlertRevisionRow.tenant == tenant, AlertRevisionRow.alert_id == alert_id)
        .order_by(AlertRevisionRow.revision)
    )
    return [
        {
            "revision": row.revision,
            "updated_time": format_moment(row.updated_time),
            "stored_at": format_moment(row.stored_at),
            "sha256": hashlib.sha256(row.record).hexdigest(),
        }
        for row in rows
    ]


def _judgement(session: Session, tenant: str, found: AlertDetail) -> dict[str, Any]:
    history = acts.list_acts(session, tenant, found.alert.alert_id)
    return {
        "state": found.alert.state,
        "standing_label_id": found.alert.label_id,
        "entitled_until": format_moment(found.alert.entitled_until) if found.alert.entitled_until else None,
        "labels": [
            {
                "label_id": row.label_id,
                "revision": row.alert_revision,
                "verdict": row.verdict,
                "reason": row.reason,
                "actor": row.actor,
                "labelled_at": format_moment(row.labelled_at),
            }
            for row in found.labels
        ],
        "acts": [
            {
                "act_id": row.act_id,
                "kind": row.kind,
                "actor": row.actor,
                "at": format_moment(row.at),
                "undone": row.undone_at is not None,
            }
            for row in history
        ],
    }


def _certainty(session: Session, tenant: str, found: AlertDetail) -> dict[str, Any]:
    measured = {row.detector: row for row in quality.measure(session, tenant).precision}
    row = measured.get(found.alert.detector)
    low, high = wilson(0, 0)
    return {
        "detector": found.alert.detector,
        "confidence": found.alert.confidence,
        "verdicts_on_this_detector": row.judged if row is not None else 0,
        "confirmed": row.confirmed if row is not None else 0,
        "precision_95_low": round(row.low if row is not None else low, 4),
        "precision_95_high": round(row.high if row is not None else high, 4),
    }


def _audit(session: Session, tenant: str, alert_id: str) -> dict[str, Any]:
    rows = session.scalars(
        select(AuditRow)
        .where(AuditRow.tenant == tenant, AuditRow.subject == f"alert/{alert_id}", AuditRow.seq.is_not(None))
        .order_by(AuditRow.seq)
    ).all()
    whole = audit.verify(session, tenant)
    return {
        "chain_whole": whole.whole,
        "chain_rows": whole.rows,
        "chain_head": whole.head,
        "rows": [
            {
                "tenant": row.tenant,
                "seq": row.seq,
                "at": row.at.isoformat(timespec="microseconds"),
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                "before": row.before,
                "after": row.after,
                "previous_hash": (row.previous_hash or b"").hex(),
                "hash": (row.hash or b"").hex(),
                **({"forgotten": True} if row.seq in whole.forgotten else {}),
            }
            for row in rows
        ],
    }
