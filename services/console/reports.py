"""What browsers refused by the content policy: counted by directive, never by address."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.telemetry.logs import get_logger

router = APIRouter(include_in_schema=False)
LONGEST: Final = 16_384
DIRECTIVES: Final = frozenset(
    {"script-src", "script-src-elem", "script-src-attr", "style-src", "style-src-elem", "style-src-attr", "img-src"}
    | {"connect-src", "form-action", "default-src", "frame-ancestors", "base-uri", "font-src"}
)


@router.post("/csp-report")
async def take_report(request: Request, context: Context) -> Response:
    """Count a report. Anybody can send one, so that all it can do is raise a number by one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            return Response(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    directive = _directive(body)
    context.metrics.counter("stillwatch_csp_reports_total", directive=directive).inc()
    get_logger().warning("console.csp_report", directive=directive)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/console/reports")
def count_reports(context: Context) -> dict[str, float]:
    """Tell how many reports this process has taken."""
    samples = (sample for metric in context.metrics.registry.collect() for sample in metric.samples)
    return {"csp_reports": sum(each.value for each in samples if each.name == "stillwatch_csp_reports_total")}


def _directive(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body)["csp-report"]["effective-directive"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unreadable"
    return told if isinstance(told, str) and told in DIRECTIVES else "other"
