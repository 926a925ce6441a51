"""Spans, where the standard ``OTEL_*`` variables ask for them; else nothing, and nothing is imported.

A span's W3C ``traceparent`` goes along as a header of the record that the span sent, so a trace passes through Kafka.
The loops of the accounts and pools jobs read no headers and make no spans. Spans carry names and numbers of ours: no
text, no key, and no identifier of an account either, for what is exported cannot be forgotten. See docs/tracing.md.

The provider is our own and not the process's: inside a gateway, the server's tracing stays the server's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT: Final = "traceparent"
Kind = Literal["producer", "consumer"]
_LONGEST: Final = 64  # A traceparent has 55 characters; what is longer is none.
_DISABLED: Final = "OTEL_SDK_DISABLED"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NAMES: Final = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
_log = logging.getLogger("stillwatch.gateway")


class Span(Protocol):
    """One piece of work. ``traceparent`` is what a record carries to whoever goes on with it; "" for none."""

    @property
    def traceparent(self) -> str: ...  # noqa: D102 - Told above.

    def end(self, **told: str | int | bool) -> None:
        """Finish it, with more attributes."""


class Spans(Protocol):
    """What makes spans. ``on`` is False where nobody asked for any: then all else does nothing."""

    @property
    def on(self) -> bool: ...  # noqa: D102 - Told above.

    def now_ns(self) -> int:
        """Give the moment for ``since_ns``; 0 where spans are off."""

    def start(
        self, name: str, kind: Kind, *, parent: str = "", since_ns: int = 0, **attributes: str | int | bool
    ) -> Span:
        """Begin a span, at ``since_ns`` if that is given; ``parent`` is a traceparent as it came, from anybody."""

    def close(self) -> None:
        """Export what waits; gives up after some seconds."""


class _NoSpan:
    traceparent = ""

    def end(self, **told: str | int | bool) -> None:
        """Do nothing."""


class _NoSpans:
    on = False

    def now_ns(self) -> int:
        """Give no moment."""
        return 0

    def start(
        self,
        name: str,  # noqa: ARG002 - as the protocol has it
        kind: Kind,  # noqa: ARG002 - as above
        *,
        parent: str = "",  # noqa: ARG002 - as above
        since_ns: int = 0,  # noqa: ARG002 - as above
        **attributes: str | int | bool,  # noqa: ARG002 - as above
    ) -> Span:
        """Give the span that is none."""
        return NO_SPAN

    def close(self) -> None:
        """Do nothing."""


NO_SPAN: Final[Span] = _NoSpan()
NO_SPANS: Final[Spans] = _NoSpans()


def asked_for(environment: Mapping[str, str]) -> bool:
    """Tell whether the standard variables ask for spans by OTLP."""
    if environment.get(_DISABLED, "").strip().lower() == "true":
        return False
    exporters = environment.get(_EXPORTER, "")
    if exporters:
        return "otlp" in {each.strip() for each in exporters.split(",")}
    return any(environment.get(name) for name in _ENDPOINTS)


def start_spans(process: str, environment: Mapping[str, str]) -> Spans:
    """Give what makes this process's spans. Call it in the process, and in the thread, that does the work.

    Without the extra ``traces`` it is told once, and there are none.
    """
    if not asked_for(environment):
        return NO_SPANS
    try:
        from services.telemetry.otel import exported_spans  # noqa: PLC0415 - an extra, and 0.3 s that only traces cost
    except ImportError:
        _log.warning("traces.unavailable")
        return NO_SPANS
    named = any(environment.get(name) for name in _NAMES)
    return exported_spans(None if named else f"stillwatch-{process}")


def traceparent_of(headers: Any) -> str:
    """Read the traceparent of a record's headers, as confluent-kafka gives them; "" where there is no such thing."""
    for name, value in headers or ():
        if name == TRACEPARENT and isinstance(value, bytes) and len(value) <= _LONGEST and value.isascii():
            return value.decode("ascii")
    return ""
