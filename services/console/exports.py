"""Alerts as files: CSV, JSON lines and OCSF detection findings, row by row, so that size is no matter."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select

from services.adapters.postgres.moments import format_moment, read_moment, to_unix_ms
from services.adapters.postgres.queue import QueueFilter, conditions
from services.adapters.postgres.tables import AlertRow, MemberRow
from services.console.wording import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sqlalchemy.orm import Session

COLUMNS: Final = (
    "alert_id",
    "revision",
    "kind",
    "lane",
    "subject_kind",
    "subject",
    "state",
    "severity",
    "score",
    "confidence",
    "title",
    "event_time",
    "updated_time",
    "requests",
    "member_count",
    "detector",
    "family",
    "organisation",
    "config_version",
)
MEMBER_COLUMNS: Final = ("account", "customer", "requests", "strength", "since")
_ROWS: Final = 500
# A cell that begins so is a formula to a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
# OCSF 1.5: detection_finding, create.
_SEVERITY_IDS: Final = {"low": 2, "medium": 3, "high": 4, "critical": 5}
_STATUS_IDS: Final = {"open": 1, "reopened": 1, "claimed": 2, "labelled": 4, "snoozed": 3, "closed": 4}


def alert_rows(session: Session, tenant: str, wanted: QueueFilter) -> Generator[dict[str, Any]]:
    """Give each alert as a row of plain values, highest priority first; close it before the session."""
    columns = [getattr(AlertRow, name) for name in COLUMNS]
    statement = (
        select(*columns)
        .where(AlertRow.tenant == tenant, *conditions(wanted))
        .order_by(AlertRow.priority.desc(), AlertRow.alert_id.desc())
        .execution_options(yield_per=_ROWS)
    )
    with session.execute(statement) as result:
        for row in result:
            yield {
                name: format_moment(value) if name.endswith("_time") else value
                for name, value in zip(COLUMNS, row, strict=True)
            }


def member_rows(session: Session, tenant: str, alert_id: str) -> Generator[dict[str, Any]]:
    """Give each account that an alert names, strongest lead first; close it before the session."""
    columns = [getattr(MemberRow, name) for name in MEMBER_COLUMNS]
    statement = (
        select(*columns)
        .where(MemberRow.tenant == tenant, MemberRow.alert_id == alert_id)
        .order_by(MemberRow.strength.desc(), MemberRow.account)
        .execution_options(yield_per=_ROWS)
    )
    with session.execute(statement) as result:
        for row in result:
            yield dict(zip(MEMBER_COLUMNS, row, strict=True)) | {"since": format_moment(row.since)}


def as_csv(rows: Iterator[dict[str, Any]], columns: tuple[str, ...]) -> Iterator[bytes]:
    """Write rows as CSV (RFC 4180), with a header; no cell is a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
        yield _taken(buffer)
    yield _taken(buffer)


def as_json_lines(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Write rows as JSON lines."""
    for row in rows:
        yield msgspec.json.encode(row) + b"\n"


def as_ocsf(rows: Iterator[dict[str, Any]], verdicts: dict[str, str], version: str) -> Iterator[bytes]:
    """Write rows as OCSF detection findings (class 2004), one JSON object a line."""
    for row in rows:
        yield msgspec.json.encode(ocsf_finding(row, verdicts.get(row["alert_id"]), version)) + b"\n"


def ocsf_finding(row: dict[str, Any], verdict: str | None, version: str) -> dict[str, Any]:
    """Give one alert as an OCSF detection finding."""
    finding = {
        "category_uid": 2,
        "class_uid": 2004,
        "activity_id": 1,
        "type_uid": 200401,
        "time": _ms(row["updated_time"]),
        "severity_id": _SEVERITY_IDS[row["severity"]],
        "status_id": _STATUS_IDS.get(row["state"], 99),
        "confidence_score": round(row["confidence"] * 100),
        "count": row["requests"],
        "finding_info": {
            "uid": row["alert_id"],
            "title": row["title"],
            "first_seen_time": _ms(row["event_time"]),
            "last_seen_time": _ms(row["updated_time"]),
            "analytic": {"name": row["detector"], "type_id": 4, "category": row["family"]},
        },
        "resources": [{"uid": row["subject"], "type": row["subject_kind"]}],
        "metadata": {
            "version": "1.5.0",
            "product": {"name": "Stillwatch", "vendor_name": "Stillwatch", "version": version},
            "profiles": ["incident"],
        },
        "unmapped": {"config_version": row["config_version"], "score": row["score"], "revision": row["revision"]},
    }
    if verdict in VERDICTS:
        finding["verdict_id"] = VERDICTS[verdict][0]
    return finding


def _ms(moment: str) -> int:
    return to_unix_ms(read_moment(moment))


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return text
