"""The audit: every act with its actor, before and after, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from services.adapters.postgres import audit
from services.adapters.postgres.cursors import CursorError
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.console.rendering import render
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from services.adapters.postgres.tables import AuditRow

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
ROWS: Final = 60
_LONGEST: Final = 120


@router.get("/audit", response_model=None)
def show_audit(
    request: Request,
    context: Context,
    actor: Annotated[str, Query(max_length=256)] = "",
    subject: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str | None, Query(pattern=r"^[0-9A-Za-z_-]{1,400}$")] = None,
) -> HTMLResponse:
    """Show a page of the audit."""
    who, what = actor.strip().replace("\0", "") or None, subject.strip().replace("\0", "") or None
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        try:
            page = audit.list_acts(session, tenant, subject=what, actor=who, limit=ROWS, cursor=cursor)
        except CursorError:
            page = audit.list_acts(session, tenant, subject=what, actor=who, limit=ROWS)
    older = None
    if page.next_cursor is not None:
        asked = {"actor": who, "subject": what, "cursor": page.next_cursor}
        older = "/audit?" + urlencode({name: value for name, value in asked.items() if value})
    rows = [_told(row) for row in page.rows]
    return render(request, "audit.html", rows=rows, older=older, actor=who, subject=what)


def _told(row: AuditRow) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "changes": changes(row.before or {}, row.after or {}),
        "hash": bytes(row.hash).hex() if row.hash is not None else "",
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    """Name what an act changed: field, value before (None where there was none), value after."""
    return [
        (name, _text(before[name]) if before.get(name) is not None else None, _text(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and (after.get(name) is not None or before.get(name) is not None)
    ]


def _text(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
