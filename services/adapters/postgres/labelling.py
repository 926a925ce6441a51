"""Labelling: verdict, alert state, audit and outbox in one transaction, or nothing.

The alert's row is locked until the commit, so labels of one alert reach the topic in the order of their commits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import msgspec
from sqlalchemy import select

from schemas.label import Verdict
from services.adapters.postgres.lifecycle import acts
from services.adapters.postgres.lifecycle.answered import KeyReusedError
from services.adapters.postgres.lifecycle.standing import Judge
from services.adapters.postgres.tables import LabelRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class UnknownLabelError(StillwatchError):
    """There is no such label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A verdict as it is asked for. ``expected_versions`` holds the alert's version that was read; None takes any.

    ``oversees``: may judge what another holds.
    """

    alert_id: str
    verdict: Verdict
    reason: str
    actor: str
    expected_versions: frozenset[int] | None = None
    idempotency_key: str | None = None
    oversees: bool = False

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
    """Label an alert in the open transaction.

    Raises UnknownAlertError, LostRaceError, KeyReusedError, HeldError or NotPossibleError.
    """
    alert = acts.lock_alert(session, tenant, wish.alert_id)
    earlier = _made_earlier(session, tenant, wish)
    if earlier is not None:
        return Labelled(earlier, alert.version, replayed=True)
    by = acts.By(tenant=tenant, actor=wish.actor, now=now, oversees=wish.oversees)
    done = acts.perform(
        session,
        by,
        wish.alert_id,
        Judge(verdict=wish.verdict, reason=wish.reason),
        expected_versions=wish.expected_versions,
        label_key=(wish.idempotency_key, wish.digest()) if wish.idempotency_key is not None else None,
    )
    if done.label is None:
        raise TypeError("a verdict makes a label")
    return Labelled(done.label, done.alert.version, replayed=False)


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
