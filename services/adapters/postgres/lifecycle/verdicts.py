"""A verdict as a row and as a record for the topic, in the transaction of the act, which holds the alert's row."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec

from schemas.headers import text_headers
from schemas.label import Label
from schemas.topics import LABELS
from services.adapters.postgres import outbox
from services.adapters.postgres.moments import format_moment, to_unix_ms
from services.adapters.postgres.tables import LabelRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from schemas.label import LabelVerdict
    from services.adapters.postgres.tables import AlertRow


def write_verdict(
    session: Session,
    alert: AlertRow,
    *,
    verdict: LabelVerdict,
    reason: str,
    actor: str,
    now: datetime,
    idempotency_key: str | None = None,
    request_digest: str | None = None,
) -> LabelRow:
    """Add the label and its record; raises msgspec.ValidationError where it breaks the contract."""
    row = LabelRow(
        tenant=alert.tenant,
        label_id=uuid.uuid4().hex,
        alert_id=alert.alert_id,
        alert_revision=alert.revision,
        subject_kind=alert.subject_kind,
        subject=alert.subject,
        verdict=verdict,
        reason=reason,
        actor=actor,
        labelled_at=now,
        config_version=alert.config_version,
        idempotency_key=idempotency_key,
        request_digest=request_digest,
    )
    session.add(row)
    session.flush()
    label = _contract(row)
    outbox.append(
        session.connection(),
        tenant=alert.tenant,
        topic=LABELS.name,
        key=alert.alert_id,
        value=msgspec.json.encode(label),
        headers=text_headers(label, "stillwatch/database", to_unix_ms(now)),
        at=now,
    )
    return row


def _contract(row: LabelRow) -> Label:
    return msgspec.convert(
        {
            "type": "label.v1",
            "label_id": row.label_id,
            "alert_id": row.alert_id,
            "alert_revision": row.alert_revision,
            "subject_kind": row.subject_kind,
            "subject": row.subject,
            "verdict": row.verdict,
            "reason": row.reason,
            "actor": row.actor,
            "labelled_at": format_moment(row.labelled_at),
            "config_version": row.config_version,
        },
        Label,
    )
