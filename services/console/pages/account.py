"""One account: its windows, what names it, what it is entitled to, who is like it. All by keyed id."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from services.adapters.postgres import entitlements, insight
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import Identifier  # noqa: TC001 - as above
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.account_window import AccountWindow

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
ALERTS: Final = 50
COMPANIONS: Final = 20
WIDTH: Final = 720.0
HEIGHT: Final = 110.0


@router.get("/accounts/{account}", response_model=None)
def show_account(request: Request, context: Context, account: Identifier) -> HTMLResponse:
    """Show an account; one that no alert names has a page too, which says so."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        named = insight.memberships(session, tenant, account, limit=ALERTS)
        like = insight.companions(session, tenant, account, limit=COMPANIONS)
        labels = insight.newest_verdicts(session, tenant, [each.alert.alert_id for each in named])
        organisations = sorted({each.customer for each in named if each.customer})
        granted = [
            row
            for subject in dict.fromkeys([account, *organisations])
            for row in entitlements.list_entitlements(session, tenant, subject=subject).rows
        ]
    return render(
        request,
        "account.html",
        account=account,
        named=named,
        like=like,
        labels=labels,
        organisations=organisations,
        granted=granted,
    )


@router.get("/accounts/{account}/windows", response_model=None)
def show_windows(request: Request, account: Identifier) -> HTMLResponse:
    """Give the account's closed hops as a picture, when the page asks for it: the broker may take a second."""
    history = state_of(request).history
    if history is None:
        return render(request, "account_windows.html", windows=None, told="This process has no broker to ask.")
    try:
        found = history.read(account)
    except (KafkaException, KeyError):
        return render(request, "account_windows.html", windows=None, told="The broker does not answer now.")
    return render(
        request,
        "account_windows.html",
        windows=found.windows[-200:],
        complete=found.complete,
        bars=window_bars(found.windows[-200:]),
        told="",
        first=_moment(found.windows[0]) if found.windows else None,
        last=_moment(found.windows[-1]) if found.windows else None,
        totals={
            "requests": sum(each.requests for each in found.windows),
            "input": sum(each.input_tokens for each in found.windows),
            "output": sum(each.output_tokens for each in found.windows),
            "errors": sum(each.errors for each in found.windows),
        },
    )


def window_bars(windows: Sequence[AccountWindow]) -> list[tuple[float, float, float, float, str]]:
    """Draw hops as columns by time: (x, width, height of requests, y of the score, what it says)."""
    if not windows:
        return []
    first, last = windows[0].hop, windows[-1].hop
    step = WIDTH / (last - first + 1)
    most = max(each.requests for each in windows) or 1
    return [
        (
            round((each.hop - first) * step, 1),
            round(max(step - 1, 0.8), 1),
            round(each.requests / most * (HEIGHT - 4), 1),
            round(HEIGHT - 2 - each.score * (HEIGHT - 4), 1),
            f"{_moment(each):%d %b %H:%M}: {each.requests} requests, anomaly {each.score:.2f}",
        )
        for each in windows
    ]


def _moment(window: AccountWindow) -> datetime:
    return datetime.fromtimestamp(window.hop_end_unix_ms / 1000, UTC)
