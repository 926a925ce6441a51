"""Spans, where the standard ``OTEL_*`` variables ask for them; else nothing, and nothing is imported.

The loops of the accounts and pools jobs read no headers and make no spans. The provider is our own and not the
process's: inside a gateway, the server's tracing stays the server's. See docs/tracing.md.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from services.telemetry.spans import NO_SPANS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.telemetry.spans import Spans

_DISABLED: Final = "OTEL_SDK_DISABLED"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NAMES: Final = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
_log = logging.getLogger("stillwatch.gateway")


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
