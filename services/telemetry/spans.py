"""What spans are: the protocols, and the ones that are none. Nothing of OpenTelemetry is known here.

A span's W3C ``traceparent`` goes along as a header of the record that the span sent, so a trace passes through Kafka.
Spans carry names and numbers of ours: no text, no key, and no identifier of an account either, for what is exported
cannot be forgotten.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

TRACEPARENT: Final = "traceparent"
Kind = Literal["producer", "consumer"]
_LONGEST: Final = 64  # A traceparent has 55 characters; what is longer is none.


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


def traceparent_of(headers: Any) -> str:
    """Read the traceparent of a record's headers, as confluent-kafka gives them; "" where there is no such thing."""
    for name, value in headers or ():
        if name == TRACEPARENT and isinstance(value, bytes) and len(value) <= _LONGEST and value.isascii():
            return value.decode("ascii")
    return ""
