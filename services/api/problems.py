"""Errors as RFC 9457 problem details: one place says which error is which status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException

from services.adapters.postgres.alerts import UnknownAlertError
from services.adapters.postgres.cursors import CursorError
from services.adapters.postgres.decision_rows import UnknownDecisionError
from services.adapters.postgres.decisions import (
    NotInForceError,
    NotProposedError,
    OwnProposalError,
)
from services.adapters.postgres.engine import describe, is_transient
from services.adapters.postgres.entitlements import EntitledAlreadyError, PeriodError, UnknownEntitlementError
from services.adapters.postgres.labelling import UnknownLabelError
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.adapters.postgres.lifecycle.answered import KeyReusedError
from services.adapters.postgres.lifecycle.bulk import MovedOnError, TooManyError, UnknownBulkError
from services.adapters.postgres.lifecycle.reviews import NotForYouError, ReviewedAlreadyError, UnknownReviewError
from services.adapters.postgres.lifecycle.standing import HeldError, NotPossibleError
from services.adapters.postgres.lifecycle.undo import NotYoursError, SupersededError, UnknownActError
from services.adapters.postgres.models import NotReadyError, OwnModelError, UnknownModelError
from services.adapters.postgres.proposals import SamePersonError, UnknownProposalError
from services.adapters.postgres.trials import OwnCandidateError, UnknownTrialError
from services.dossiers.sealing import RefusedDossierError
from services.errors import StillwatchError
from services.identity.keys import BadKeyError, UnknownKeyError
from services.identity.limits import TooManyFailuresError
from services.identity.oidc import ProviderError
from services.identity.passwords import WeakPasswordError
from services.identity.people import BadUserError, LastAdminError, NameTakenError, UnknownUserError
from services.identity.sessions import SignInError
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
STATUS: Final[dict[type[StillwatchError], HTTPStatus]] = {
    UnknownAlertError: HTTPStatus.NOT_FOUND,
    UnknownLabelError: HTTPStatus.NOT_FOUND,
    UnknownEntitlementError: HTTPStatus.NOT_FOUND,
    UnknownDecisionError: HTTPStatus.NOT_FOUND,
    NotProposedError: HTTPStatus.CONFLICT,
    NotInForceError: HTTPStatus.CONFLICT,
    OwnProposalError: HTTPStatus.FORBIDDEN,
    CursorError: HTTPStatus.BAD_REQUEST,
    LostRaceError: HTTPStatus.PRECONDITION_FAILED,
    HeldError: HTTPStatus.CONFLICT,
    NotPossibleError: HTTPStatus.CONFLICT,
    UnknownActError: HTTPStatus.NOT_FOUND,
    NotYoursError: HTTPStatus.FORBIDDEN,
    SupersededError: HTTPStatus.CONFLICT,
    UnknownBulkError: HTTPStatus.NOT_FOUND,
    TooManyError: HTTPStatus.UNPROCESSABLE_ENTITY,
    MovedOnError: HTTPStatus.CONFLICT,
    UnknownReviewError: HTTPStatus.NOT_FOUND,
    NotForYouError: HTTPStatus.FORBIDDEN,
    ReviewedAlreadyError: HTTPStatus.CONFLICT,
    KeyReusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    EntitledAlreadyError: HTTPStatus.CONFLICT,
    PeriodError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownProposalError: HTTPStatus.NOT_FOUND,
    SamePersonError: HTTPStatus.FORBIDDEN,
    UnknownModelError: HTTPStatus.NOT_FOUND,
    NotReadyError: HTTPStatus.CONFLICT,
    OwnModelError: HTTPStatus.FORBIDDEN,
    UnknownTrialError: HTTPStatus.NOT_FOUND,
    OwnCandidateError: HTTPStatus.FORBIDDEN,
    UnknownUserError: HTTPStatus.NOT_FOUND,
    NameTakenError: HTTPStatus.CONFLICT,
    LastAdminError: HTTPStatus.CONFLICT,
    BadUserError: HTTPStatus.UNPROCESSABLE_ENTITY,
    WeakPasswordError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownKeyError: HTTPStatus.NOT_FOUND,
    BadKeyError: HTTPStatus.UNPROCESSABLE_ENTITY,
    SignInError: HTTPStatus.UNAUTHORIZED,
    RefusedDossierError: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyFailuresError: HTTPStatus.TOO_MANY_REQUESTS,
    ProviderError: HTTPStatus.BAD_GATEWAY,
}


class FieldError(BaseModel):
    """One field that is not as it should be; never its value."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """An error as RFC 9457 tells it."""

    model_config = ConfigDict(json_schema_extra={"description": "Problem details (RFC 9457)."})

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


def problem(
    status: int, detail: str | None = None, *, errors: list[FieldError] | None = None, headers: Any = None
) -> JSONResponse:
    """Make the answer."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Give the error answers of an operation for the OpenAPI document; those that any may give are added."""
    always = (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        int(status): {"description": status.phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted({*always, *statuses})
    }


def add_handlers(app: FastAPI) -> None:
    """Turn every exception into a problem; what nobody foresaw is logged with its class and is 500."""
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StillwatchError, _domain)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(Exception, _unforeseen)


def _validation(_request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [FieldError(pointer="/" + "/".join(map(str, row["loc"])), detail=row["msg"]) for row in found]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not as the API describes it.", errors=errors)


def _http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, headers=error.headers)


def _domain(_request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)
    if status is None or not isinstance(error, StillwatchError):
        raise error
    return problem(status, f"{error.args[0]}. {error.hint}".strip())


def _database(_request: Request, error: Exception) -> Response:
    return database_problem(error)


def database_problem(error: Exception) -> Response:
    """Say what a database's error means for the caller: 400, 503 where trying again may help, or 500."""
    if isinstance(error, DataError):
        return problem(HTTPStatus.BAD_REQUEST, "The database cannot hold a value of the request.")
    get_logger().warning("api.database_failed", error=describe(error))
    if is_transient(error):
        again = {"Retry-After": "2"}
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.", headers=again)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR)


def _unforeseen(_request: Request, error: Exception) -> Response:
    get_logger().error("api.failed", error=type(error).__name__)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR)
