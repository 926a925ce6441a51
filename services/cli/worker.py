"""`stillwatch worker normalise`: the one stream worker that is composed here, of the job and the gateway's formats.

The job may not know the gateway (they are siblings), so the command line, which stands above both, hands it the
formats. The other workers need nothing from above: `python -m stream_jobs.incidents` and its like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from schemas.topics import raw_topic
from services import bootstrap
from services.gateway.formats.registry import VENDORS, events_of
from services.gateway.identity import load_identity
from services.gateway.keys.topic import attach_links
from services.gateway.lines import decode
from services.gateway.parsed import RejectedRecord
from services.gateway.sketching import EventMaker
from stream_jobs.normalise.job import NamedReject
from stream_jobs.normalise.worker import run

if TYPE_CHECKING:
    import typer

    from schemas.dead_letter import Reason
    from schemas.request_event import RequestEvent
    from services.gateway.formats.registry import Vendor
    from services.gateway.identity import Identity
    from services.gateway.parsed import RejectReason

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
    """One vendor format under this installation's keys. Records may hold one request or several."""

    def __init__(self, schema: str, vendor: Vendor, identity: Identity) -> None:
        self.schema = schema
        self._vendor = vendor
        self._maker = EventMaker(identity)

    def __call__(self, raw: bytes, place: str) -> list[RequestEvent | NamedReject]:
        """Make one answer for each request of the record; ``place`` identifies those without an id of their own."""
        try:
            value = decode(raw)
        except RejectedRecord as rejected:
            return [_named(rejected)]
        return [
            _named(made) if isinstance(made, RejectedRecord) else made
            for made in events_of(self._vendor, value, self._maker, place)
        ]


def _named(rejected: RejectedRecord) -> NamedReject:
    return NamedReject(REASONS[rejected.reason], rejected.detail)


def normalisers(identity: Identity) -> dict[str, FormatNormaliser]:
    """Give the formats by the topics that carry them."""
    return {raw_topic(name).name: FormatNormaliser(name, vendor, identity) for name, vendor in VENDORS.items()}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("worker")(worker)


def worker(name: WorkerName) -> None:
    """Run a stream worker that needs the gateway's formats."""
    del name  # There is one; typer has refused every other.
    settings = bootstrap.load_settings()
    identity = load_identity(settings)
    attach_links(identity, settings, bootstrap.bootstrap_servers(settings))
    run(settings, normalisers(identity))
