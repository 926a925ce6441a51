"""The alert that a path names, looked up before its handler runs: somebody else's, or none, answers 404."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from services.adapters.postgres.alerts import find_alert
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import RecordId  # noqa: TC001 - as above


def known_alert(context: Context, caller: Caller, alert_id: RecordId) -> str:
    """Give the id of an alert of the caller's tenant; raises UnknownAlertError."""
    with context.transaction() as session:
        find_alert(session, caller.tenant, alert_id)
    return alert_id


# For routes that read rows beside the alert's own, or a form before it: those would say "nothing" of what is not there.
KnownAlert = Annotated[str, Depends(known_alert)]
