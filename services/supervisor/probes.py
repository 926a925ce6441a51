"""Ways to ask a part whether it is ready."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

from services.supervisor.part import ReadyState

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 2.0
LONGEST_DETAIL = 200


def readyz(port: int, *, host: str = "127.0.0.1") -> Callable[[], ReadyState]:
    """Return a probe that asks `GET /readyz`: ready at 200.

    Otherwise the answer's `detail` (or its body) says why not. No answer at all is told apart from a no.
    """

    def probe() -> ReadyState:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return ReadyState(ready=False, detail=f"/readyz does not answer ({type(error).__name__})", answers=False)
        finally:
            connection.close()
        if answer.status == http.client.OK:
            return ReadyState(ready=True)
        return ReadyState(ready=False, detail=_detail(body) or f"/readyz says {answer.status}")

    return probe


def _detail(body: bytes) -> str:
    """Return the readable part of an answer: problem details' `detail`, else its text on one line."""
    text = body.decode(errors="replace")
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("detail"), str):
        text = told["detail"]
    return " ".join(text.split())[:LONGEST_DETAIL]


def asking(question: Callable[[], bool], otherwise: str) -> Callable[[], ReadyState]:
    """Return a probe from a plain question that only a living server answers; `otherwise` says what a no means."""

    def probe() -> ReadyState:
        return ReadyState(ready=True) if question() else ReadyState(ready=False, detail=otherwise, answers=False)

    return probe
