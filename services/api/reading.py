"""``/v1``: alerts, campaigns and accounts, to read."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from services.adapters.postgres import alerts
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.known import KnownAlert  # noqa: TC001 - as above
from services.api.models import (
    AccountAnswer,
    AlertDetail,
    AlertQuery,
    AlertSummary,
    Identifier,
    LabelAnswer,
    Member,
    PageOf,
    Paging,
    RecordId,
    describe_alert,
)
from services.api.problems import responses

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.identity.principal import Principal

router = APIRouter(prefix="/v1", tags=["alerts"])
ALERTS_OF_ACCOUNT = 100


def etag(version: int) -> str:
    """Give the entity tag of an alert's version."""
    return f'"v{version}"'


def to_filter(query: AlertQuery) -> alerts.AlertFilter:
    """Give the query as the database's filter."""
    return alerts.AlertFilter(**query.model_dump(exclude={"limit", "cursor"}))


def _page(session: Session, caller: Principal, query: AlertQuery, wanted: alerts.AlertFilter) -> PageOf[AlertSummary]:
    page = alerts.list_alerts(session, caller.tenant, wanted, limit=query.limit, cursor=query.cursor)
    return PageOf(items=[AlertSummary.model_validate(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/alerts", responses=responses())
def list_alerts(context: Context, caller: Caller, query: Annotated[AlertQuery, Query()]) -> PageOf[AlertSummary]:
    """List alerts, newest event first."""
    with context.transaction() as session:
        return _page(session, caller, query, to_filter(query))


@router.get("/alerts/{alert_id}", responses=responses(HTTPStatus.NOT_FOUND))
def get_alert(context: Context, caller: Caller, alert_id: RecordId, response: Response) -> AlertDetail:
    """Give one alert; its ETag goes into a label's If-Match."""
    with context.transaction() as session:
        detail = describe_alert(alerts.read_alert(session, caller.tenant, alert_id))
    response.headers["ETag"] = etag(detail.version)
    return detail


@router.get("/campaigns", responses=responses())
def list_campaigns(context: Context, caller: Caller, query: Annotated[AlertQuery, Query()]) -> PageOf[AlertSummary]:
    """List the alerts whose subject is a campaign, newest event first."""
    with context.transaction() as session:
        return _page(session, caller, query, replace(to_filter(query), subject_kind="campaign"))


@router.get("/campaigns/{alert_id}/members", responses=responses(HTTPStatus.NOT_FOUND))
def list_members(
    context: Context, caller: Caller, alert_id: KnownAlert, query: Annotated[Paging, Query()]
) -> PageOf[Member]:
    """List the accounts that an alert names, strongest lead first."""
    with context.transaction() as session:
        page = alerts.list_members(session, caller.tenant, alert_id, limit=query.limit, cursor=query.cursor)
        return PageOf(items=[Member.model_validate(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/accounts/{account}", responses=responses())
def get_account(context: Context, caller: Caller, account: Identifier) -> AccountAnswer:
    """Give the newest alerts that name an account, and their labels. An account that none names has neither."""
    with context.transaction() as session:
        wanted = alerts.AlertFilter(account=account)
        found = alerts.list_alerts(session, caller.tenant, wanted, limit=ALERTS_OF_ACCOUNT).rows
        labels = alerts.list_labels_of(session, caller.tenant, [row.alert_id for row in found])
        return AccountAnswer(
            account=account,
            alerts=[AlertSummary.model_validate(row) for row in found],
            labels=[LabelAnswer.model_validate(row) for row in labels],
        )
