"""``/livez`` and ``/readyz``: whether the process answers, and whether what it needs is there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response
from sqlalchemy import text
from starlette.responses import PlainTextResponse

from services.adapters.postgres.alert_store import last_beat
from services.adapters.postgres.migrate import current_revision, head_revision
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import Readiness
from services.telemetry.health import CheckResult, readiness

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Engine

router = APIRouter(tags=["health"])
# The sink beats every 5 s; six missed beats are no hiccup.
STALE_AFTER: Final = timedelta(seconds=30)


def make_checks(
    engine: Engine, kafka: Callable[[], CheckResult], tenant: str, now: Callable[[], datetime]
) -> dict[str, Callable[[], CheckResult]]:
    """Make the checks of the API: database and schema, the brokers' own check, and a sink that lives."""

    def database() -> CheckResult:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            found = current_revision(connection)
        return CheckResult(ready=found == head_revision(), detail=f"answers, at revision {found}")

    def alert_sink() -> CheckResult:
        with engine.connect() as connection:
            beat = last_beat(connection, tenant)
        if beat is None:
            return CheckResult(ready=False, detail="no sink has ever run")
        silent = now() - beat
        return CheckResult(ready=silent <= STALE_AFTER, detail=f"last beat {silent.total_seconds():.0f} s ago")

    return {"database": database, "kafka": kafka, "alert_sink": alert_sink}


@router.get("/livez", response_class=PlainTextResponse)
def livez() -> str:
    """Say that the process answers."""
    return "live\n"


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is missing."}})
def readyz(context: Context, response: Response) -> Readiness:
    """Ask each part; 503 where one is missing."""
    ready, checks = readiness(context.checks)
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)
