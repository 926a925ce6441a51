"""`stillwatch worker normalise`: the one stream worker that is composed here, of the job and the gateway's formats.

The job may not know the gateway (they are siblings), so the command line, which stands above both, hands it the
formats. The other workers need nothing from above: `python -m stream_jobs.incidents` and its like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from schemas.topics import RAW_LITELLM, RAW_OPENAI
from services import bootstrap
from services.gateway.formats import litellm, openai
from services.gateway.identity import load_identity
from services.gateway.lines import decode
from services.gateway.parsed import RejectedRecord
from services.gateway.sketching import EventMaker
from stream_jobs.normalise.job import NamedReject
from stream_jobs.normalise.worker import run

if TYPE_CHECKING:
    import typer

    from schemas.dead_letter import Reason
    from schemas.request_event import RequestEvent
    from services.gateway.identity import Identity
    from services.gateway.parsed import FormatParser, RejectReason

WorkerName = Literal["normalise"]
REASONS: Final[dict[RejectReason, Reason]] = {
    "not_json": "not_json",
    "not_an_object": "schema",
    "too_large": "too_large",
    "schema": "schema",
    "no_account": "null_key",
    "no_time": "schema",
}


class FormatNormaliser:
    """One vendor format under this installation's keys. Records may hold one request or an array of them."""

    def __init__(self, schema: str, parse: FormatParser, identity: Identity) -> None:
        self.schema = schema
        self._parse = parse
        self._maker = EventMaker(identity)

    def __call__(self, raw: bytes, place: str) -> list[RequestEvent | NamedReject]:
        """Make one answer for each request of the record; ``place`` identifies those without an id of their own."""
        try:
            value = decode(raw)
        except RejectedRecord as rejected:
            return [NamedReject(REASONS[rejected.reason], rejected.detail)]
        entries = value if isinstance(value, list) else [value]
        return [self._one(entry, f"{place}.{index}") for index, entry in enumerate(entries)]

    def _one(self, entry: object, place: str) -> RequestEvent | NamedReject:
        if not isinstance(entry, dict):
            return NamedReject("schema", "JSON, but no object")
        try:
            return self._maker.to_event(self._parse(entry), place)
        except RejectedRecord as rejected:
            return NamedReject(REASONS[rejected.reason], rejected.detail)
        except RecursionError:
            return NamedReject("not_json", "nested beyond reading")


def normalisers(identity: Identity) -> dict[str, FormatNormaliser]:
    """Give the formats by the topics that carry them."""
    return {
        RAW_LITELLM.name: FormatNormaliser("litellm", litellm.parse, identity),
        RAW_OPENAI.name: FormatNormaliser("openai", openai.parse, identity),
    }


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("worker")(worker)


def worker(name: WorkerName) -> None:
    """Run a stream worker that needs the gateway's formats."""
    del name  # There is one; typer has refused every other.
    settings = bootstrap.load_settings()
    run(settings, normalisers(load_identity(settings)))
