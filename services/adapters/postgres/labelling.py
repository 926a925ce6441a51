"""Labelling: verdict, alert state, audit and outbox in one transaction, or nothing.

The alert's row is locked until the commit, so labels of one alert reach the topic in the order of their commits.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import msgspec
from sqlalchemy import select

from schemas.headers import text_headers
from schemas.label import Label, Verdict
from schemas.topics import LABELS
from services.adapters.postgres import audit, outbox
from services.adapters.postgres.alerts import UnknownAlertError
from services.adapters.postgres.moments import format_moment, to_unix_ms
from services.adapters.postgres.tables import AlertRow, LabelRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class UnknownLabelError(StillwatchError):
    """There is no such label."""


class LostRaceError(StillwatchError):
    """The alert has changed since it was read; nothing was written."""

    hint = "Read the alert again and decide anew."


class KeyReusedError(StillwatchError):
    """The idempotency key belongs to another request; nothing was written."""

    hint = "Use a new key for a new label."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A verdict as it is asked for. ``expected_versions`` holds the alert's version that was read; None takes any."""

    alert_id: str
    verdict: Verdict
    reason: str
    actor: str
    expected_versions: frozenset[int] | None = None
    idempotency_key: str | None = None

    def digest(self) -> str:
        """Give a fingerprint of what is asked, without the key and the version."""
        asked = msgspec.json.encode((self.alert_id, self.verdict, self.reason, self.actor))
        return hashlib.sha256(asked).hexdigest()


@dataclass(frozen=True, slots=True)
class Labelled:
    """The label, the alert's version after it, and whether an earlier request with the same key had made it."""

    label: LabelRow
    version: int
    replayed: bool


def label_alert(session: Session, tenant: str, wish: Wish, now: datetime) -> Labelled:
    """Label an alert in the open transaction. Raises UnknownAlertError, LostRaceError or KeyReusedError."""
    alert = session.scalars(
        select(AlertRow).where(AlertRow.tenant == tenant, AlertRow.alert_id == wish.alert_id).with_for_update()
    ).one_or_none()
    if alert is None:
        raise UnknownAlertError(f"there is no alert {wish.alert_id}")
    earlier = _made_earlier(session, tenant, wish)
    if earlier is not None:
        return Labelled(earlier, alert.version, replayed=True)
    if wish.expected_versions is not None and alert.version not in wish.expected_versions:
        raise LostRaceError(f"alert {wish.alert_id} is at version {alert.version} now")
    row = _row(tenant, alert, wish, now)
    session.add(row)
    before = {"state": alert.state, "version": alert.version}
    alert.state = "labelled"
    alert.version += 1
    session.flush()
    connection = session.connection()
    audit.append(
        connection,
        tenant=tenant,
        at=now,
        actor=wish.actor,
        action="alert.labelled",
        subject=f"alert/{alert.alert_id}",
        before=before,
        after={
            "state": alert.state,
            "version": alert.version,
            "label_id": row.label_id,
            "verdict": row.verdict,
            "reason": row.reason,
        },
    )
    label = _contract(row)
    outbox.append(
        connection,
        tenant=tenant,
        topic=LABELS.name,
        key=alert.alert_id,
        value=msgspec.json.encode(label),
        headers=text_headers(label, "stillwatch/database", to_unix_ms(now)),
        at=now,
    )
    return Labelled(row, alert.version, replayed=False)


def find_label(session: Session, tenant: str, label_id: str) -> LabelRow:
    """Give one label; raises UnknownLabelError."""
    row = session.get(LabelRow, (tenant, label_id))
    if row is None:
        raise UnknownLabelError(f"there is no label {label_id}")
    return row


def _made_earlier(session: Session, tenant: str, wish: Wish) -> LabelRow | None:
    if wish.idempotency_key is None:
        return None
    found = session.scalars(
        select(LabelRow).where(LabelRow.tenant == tenant, LabelRow.idempotency_key == wish.idempotency_key)
    ).one_or_none()
    if found is not None and found.request_digest != wish.digest():
        raise KeyReusedError("this idempotency key was used for another label")
    return found


def _row(tenant: str, alert: AlertRow, wish: Wish, now: datetime) -> LabelRow:
    return LabelRow(
        tenant=tenant,
        label_id=uuid.uuid4().hex,
        alert_id=alert.alert_id,
        alert_revision=alert.revision,
        subject_kind=alert.subject_kind,
        subject=alert.subject,
        verdict=wish.verdict,
        reason=wish.reason,
        actor=wish.actor,
        labelled_at=now,
        config_version=alert.config_version,
        idempotency_key=wish.idempotency_key,
        request_digest=wish.digest() if wish.idempotency_key is not None else None,
    )


def _contract(row: LabelRow) -> Label:
    """Give the row as the topic has it; raises msgspec.ValidationError where it breaks the contract."""
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
