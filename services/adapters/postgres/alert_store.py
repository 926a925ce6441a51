"""Alerts into the database, so that a record that comes twice, or late, changes nothing.

One call is one transaction's worth. The row of an alert holds its highest revision; a higher one replaces the evidence
and never what analysts did: state, labels and notes stay, except that new evidence opens a closed alert again, with a
row in the audit. Every revision's bytes are kept beside it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from detection.outcomes import SEVERITIES
from services.adapters.postgres import audit, entitled
from services.adapters.postgres.lifecycle.standing import Standing, with_evidence
from services.adapters.postgres.lifecycle_tables import SnoozeRow
from services.adapters.postgres.moments import read_moment
from services.adapters.postgres.partitions import ensure_months
from services.adapters.postgres.tables import AlertRevisionRow, AlertRow, EvidenceRow, SinkProgressRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from schemas.alert import Alert
    from services.adapters.postgres.alerts import State

Outcome = Literal["new", "grown", "known"]
SINK_ACTOR: Final = "alert-sink"
SEVERITY_RANK: Final = {severity: place for place, severity in enumerate(SEVERITIES, 1)}
_HIGHEST: Final = 0.9999  # No priority lifts an alert into the next severity.

# Who writes alerts, the sink or an erasure, holds it to the end of the transaction.
TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('alert-sink/' || :tenant, 0))")
_MEMBERS: Final = text("""
    INSERT INTO campaign_members (tenant, alert_id, account, customer, requests, strength, since, revision)
    SELECT :tenant, :alert_id, member.*, :revision
      FROM unnest(CAST(:accounts AS text[]), CAST(:customers AS text[]), CAST(:requests AS bigint[]),
                  CAST(:strengths AS double precision[]), CAST(:since AS timestamptz[])) AS member
        ON CONFLICT (tenant, alert_id, account) DO UPDATE
       SET customer = excluded.customer, requests = excluded.requests, strength = excluded.strength,
           since = excluded.since, revision = excluded.revision
""")
_GONE: Final = text(
    "DELETE FROM campaign_members WHERE tenant = :tenant AND alert_id = :alert_id AND revision < :revision"
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record of the alerts topic: its bytes, what they say, and its moments as moments."""

    alert: Alert
    record: bytes
    event_time: datetime
    updated_time: datetime


class Known(NamedTuple):
    """What the database has of an alert."""

    revision: int
    state: State
    digest: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of each record, in the order given. ``conflicts`` are places whose known revision had other bytes."""

    outcomes: list[Outcome]
    conflicts: list[int]
    reopened: list[str]


def store_alerts(connection: Connection, tenant: str, batch: Sequence[Incoming], now: datetime) -> Stored:
    """Write a batch into the open transaction. Sinks of one tenant take turns until they commit."""
    # The topic has one partition, so a second sink is a leftover of a rebalance, and must not mix its rows in.
    connection.execute(TURN, {"tenant": tenant})
    known = _lock_known(connection, tenant, {incoming.alert.alert_id for incoming in batch})
    outcomes, conflicts = _outcomes(batch, known)
    newest = _newest(batch, known)
    news = _news(connection, tenant, [row for row in newest if row.alert.alert_id in known])
    if newest:
        _upsert_alerts(connection, tenant, newest, now)
    if batch:
        # Known revisions too: a lower one that comes late is history all the same, whatever the order was.
        ensure_months(connection, ("evidence", "alert_revisions"), (incoming.event_time for incoming in batch))
        _insert_revisions(connection, tenant, batch, now)
        _insert_evidence(connection, tenant, batch, now)
    for incoming in newest:
        _replace_members(connection, tenant, incoming)
    entitled.refresh(connection, tenant, [incoming.alert.alert_id for incoming in newest], now)
    _apply_snoozes(connection, tenant, [row for row in newest if row.alert.alert_id not in known], now)
    # Last, for the audit's lock is every writer's.
    reopened = [
        incoming.alert.alert_id for incoming in newest if _reopens(connection, tenant, incoming, known, news, now)
    ]
    return Stored(outcomes, conflicts, reopened)


def save_progress(connection: Connection, tenant: str, topic: str, offsets: Mapping[int, int], now: datetime) -> None:
    """Note the next offset of each partition, in the transaction that stored what lies before it."""
    for partition, next_offset in sorted(offsets.items()):
        row = insert(SinkProgressRow).values(
            tenant=tenant, topic=topic, partition=partition, next_offset=next_offset, beat_at=now
        )
        connection.execute(
            row.on_conflict_do_update(
                index_elements=["tenant", "topic", "partition"],
                set_={"next_offset": row.excluded.next_offset, "beat_at": row.excluded.beat_at},
            )
        )


def beat(connection: Connection, tenant: str, topic: str, partitions: Iterable[int], now: datetime) -> None:
    """Note that a sink lives and holds these partitions, though nothing has come."""
    for partition in sorted(partitions):
        row = insert(SinkProgressRow).values(
            tenant=tenant, topic=topic, partition=partition, next_offset=0, beat_at=now
        )
        keys = ["tenant", "topic", "partition"]
        connection.execute(row.on_conflict_do_update(index_elements=keys, set_={"beat_at": row.excluded.beat_at}))


def last_beat(connection: Connection, tenant: str) -> datetime | None:
    """Tell when a sink of this tenant last said that it lives; None where none ever did."""
    beats = select(SinkProgressRow.beat_at).where(SinkProgressRow.tenant == tenant)
    return connection.execute(beats.order_by(SinkProgressRow.beat_at.desc()).limit(1)).scalar()


def _lock_known(connection: Connection, tenant: str, ids: set[str]) -> dict[str, Known]:
    rows = connection.execute(
        select(AlertRow.alert_id, AlertRow.revision, AlertRow.state, func.sha256(AlertRow.record).label("digest"))
        .where(AlertRow.tenant == tenant, AlertRow.alert_id.in_(ids))
        .order_by(AlertRow.alert_id)
        .with_for_update()
    )
    return {row.alert_id: Known(row.revision, row.state, bytes(row.digest)) for row in rows}


def _outcomes(batch: Sequence[Incoming], known: Mapping[str, Known]) -> tuple[list[Outcome], list[int]]:
    """Say for each record what it is beside the database and the records before it."""
    seen = {alert_id: (row.revision, row.digest) for alert_id, row in known.items()}
    outcomes: list[Outcome] = []
    conflicts: list[int] = []
    for place, incoming in enumerate(batch):
        alert = incoming.alert
        before = seen.get(alert.alert_id)
        if before is not None and alert.revision <= before[0]:
            outcomes.append("known")
            if alert.revision == before[0] and _digest(incoming.record) != before[1]:
                conflicts.append(place)
            continue
        outcomes.append("new" if before is None else "grown")
        seen[alert.alert_id] = (alert.revision, _digest(incoming.record))
    return outcomes, conflicts


def _newest(batch: Sequence[Incoming], known: Mapping[str, Known]) -> list[Incoming]:
    best: dict[str, Incoming] = {}
    for incoming in batch:
        alert = incoming.alert
        floor = known[alert.alert_id].revision if alert.alert_id in known else None
        standing = best.get(alert.alert_id)
        if standing is not None:
            floor = standing.alert.revision
        if floor is None or alert.revision > floor:
            best[alert.alert_id] = incoming
    return [best[alert_id] for alert_id in sorted(best)]


def _upsert_alerts(connection: Connection, tenant: str, newest: Sequence[Incoming], now: datetime) -> None:
    rows = [_alert_values(tenant, incoming, now) for incoming in newest]
    statement = insert(AlertRow)
    grown: dict[str, Any] = {name: statement.excluded[name] for name in rows[0] if name not in {"tenant", "alert_id"}}
    grown["version"] = AlertRow.version + 1
    upsert = statement.on_conflict_do_update(
        index_elements=["tenant", "alert_id"], set_=grown, where=statement.excluded.revision > AlertRow.revision
    )
    connection.execute(upsert, rows)


def _alert_values(tenant: str, incoming: Incoming, now: datetime) -> dict[str, Any]:
    alert = incoming.alert
    payload = msgspec.to_builtins(alert)
    del payload["members"]
    requests_of: Counter[str] = Counter()
    for member in alert.members:
        requests_of[member.customer] += member.requests
    return {
        "tenant": tenant,
        "alert_id": alert.alert_id,
        "revision": alert.revision,
        "kind": alert.kind,
        "lane": alert.lane,
        "subject_kind": alert.subject_kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "score": alert.score,
        "confidence": alert.confidence,
        "title": alert.title,
        "event_time": incoming.event_time,
        "updated_time": incoming.updated_time,
        "stored_at": now,
        "requests": alert.requests,
        "member_count": len(alert.members),
        "config_version": alert.config_version,
        # Of customers with as many requests, the same one every time.
        "organisation": max(sorted(requests_of), key=requests_of.__getitem__, default=""),
        "record": incoming.record,
        "payload": payload,
        "detector": detector_of(alert),
        "family": _family_of(alert),
        "priority": SEVERITY_RANK[alert.severity] + min(max(alert.priority, 0.0), _HIGHEST),
    }


def _insert_revisions(connection: Connection, tenant: str, batch: Sequence[Incoming], now: datetime) -> None:
    rows = [
        {
            "tenant": tenant,
            "alert_id": incoming.alert.alert_id,
            "revision": incoming.alert.revision,
            "event_time": incoming.event_time,
            "updated_time": incoming.updated_time,
            "stored_at": now,
            "record": incoming.record,
        }
        for incoming in batch
    ]
    connection.execute(insert(AlertRevisionRow).on_conflict_do_nothing(), rows)


def _insert_evidence(connection: Connection, tenant: str, batch: Sequence[Incoming], now: datetime) -> None:
    rows = [
        msgspec.structs.asdict(finding)
        | {
            "tenant": tenant,
            "alert_id": incoming.alert.alert_id,
            "revision": incoming.alert.revision,
            "event_time": incoming.event_time,
            "stored_at": now,
        }
        for incoming in batch
        for finding in incoming.alert.findings
    ]
    if not rows:
        return
    statement = insert(EvidenceRow)
    first = func.least(EvidenceRow.revision, statement.excluded.revision)
    keys = ["tenant", "alert_id", "finding_id", "event_time"]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={"revision": first}), rows)


def _replace_members(connection: Connection, tenant: str, incoming: Incoming) -> None:
    alert = incoming.alert
    where = {"tenant": tenant, "alert_id": alert.alert_id, "revision": alert.revision}
    # An account may stand once in a record; should it stand twice, the stronger lead is kept.
    strongest = {member.account: member for member in sorted(alert.members, key=lambda member: member.strength)}
    members = list(strongest.values())
    connection.execute(
        _MEMBERS,
        where
        | {
            "accounts": [member.account for member in members],
            "customers": [member.customer for member in members],
            "requests": [member.requests for member in members],
            "strengths": [member.strength for member in members],
            "since": [read_moment(member.since) for member in members],
        },
    )
    connection.execute(_GONE, where)


def _news(connection: Connection, tenant: str, grown: Sequence[Incoming]) -> dict[str, list[str]]:
    """Give the findings of each alert that no revision has quoted yet; asked before this batch's are stored."""
    ids = [incoming.alert.alert_id for incoming in grown]
    rows = connection.execute(
        select(EvidenceRow.alert_id, EvidenceRow.finding_id).where(
            EvidenceRow.tenant == tenant, EvidenceRow.alert_id.in_(ids)
        )
    )
    quoted = {(row.alert_id, row.finding_id) for row in rows} if ids else set()
    return {
        incoming.alert.alert_id: [
            finding.finding_id
            for finding in incoming.alert.findings
            if (incoming.alert.alert_id, finding.finding_id) not in quoted
        ]
        for incoming in grown
    }


def _apply_snoozes(connection: Connection, tenant: str, new: Sequence[Incoming], now: datetime) -> None:
    """Hide new alerts of a subject and detector that is snoozed."""
    for incoming in new:
        until = connection.execute(
            select(func.max(SnoozeRow.until)).where(
                SnoozeRow.tenant == tenant,
                SnoozeRow.subject == incoming.alert.subject,
                SnoozeRow.detector == detector_of(incoming.alert),
                SnoozeRow.ended_at.is_(None),
                SnoozeRow.until > now,
            )
        ).scalar()
        if until is not None:
            row = (AlertRow.tenant == tenant, AlertRow.alert_id == incoming.alert.alert_id)
            connection.execute(update(AlertRow).where(*row).values(state="snoozed", snoozed_until=until))


def _reopens(
    connection: Connection,
    tenant: str,
    incoming: Incoming,
    known: Mapping[str, Known],
    news: Mapping[str, list[str]],
    now: datetime,
) -> bool:
    """Reopen a closed alert on evidence that it did not have; the audit says on which."""
    alert = incoming.alert
    before = known.get(alert.alert_id)
    if before is None or before.state != "closed":
        return False
    row = (AlertRow.tenant == tenant, AlertRow.alert_id == alert.alert_id)
    covered = connection.execute(select(AlertRow.entitled_until).where(*row)).scalar_one()
    fresh = news[alert.alert_id]
    after = with_evidence(
        Standing(state=before.state),
        alert.revision,
        news=bool(fresh),
        entitled=covered is not None and covered > now,
    )
    if after.state != "reopened":
        return False
    values = {"state": after.state, "reopened_revision": after.reopened_revision, "last_act": None}
    connection.execute(update(AlertRow).where(*row).values(**values))
    audit.append(
        connection,
        tenant=tenant,
        at=now,
        actor=SINK_ACTOR,
        action="alert.reopened",
        subject=f"alert/{alert.alert_id}",
        before={"state": before.state, "revision": before.revision},
        after={"state": after.state, "revision": alert.revision, "findings": fresh[:20], "new_findings": len(fresh)},
    )
    return True


def detector_of(alert: Alert) -> str:
    """Name the detector of the strongest finding."""
    return max(alert.findings, key=lambda finding: finding.score).detector if alert.findings else alert.lane


def _family_of(alert: Alert) -> str:
    return max(alert.findings, key=lambda finding: finding.score).family if alert.findings else ""


def _digest(record: bytes) -> bytes:
    return hashlib.sha256(record).digest()
