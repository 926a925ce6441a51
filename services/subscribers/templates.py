"""Bodies of webhooks: the alert as it is, its OCSF projection, or what chat and paging services take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from schemas import ocsf
from schemas.alert import encode_alert

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.outcomes import Alert, Severity

Template: TypeAlias = Literal["alert", "ocsf", "slack", "pagerduty"]
_PAGER: Final[dict[Severity, str]] = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}


def body_of(template: Template, alert: Alert, *, version: str, link: str, routing_key: str = "") -> bytes:
    """Write an alert. ``link`` leads to its page, "" for none; ``routing_key`` is PagerDuty's."""
    if template == "alert":
        return encode_alert(alert)
    if template == "ocsf":
        return ocsf.encode(alert, version)
    chosen: dict[str, Callable[[], dict[str, Any]]] = {
        "slack": lambda: _slack(alert, link),
        "pagerduty": lambda: _pager(alert, link, routing_key),
    }
    return msgspec.json.encode(chosen[template]())


def _slack(alert: Alert, link: str) -> dict[str, Any]:
    grown = "" if alert.revision == 1 else f" (revision {alert.revision})"
    title = f"*{alert.severity.capitalize()}*{grown}: {_plain(alert.title)}"
    facts = f"{len(alert.members):,} accounts, {alert.requests:,} requests, confidence {alert.confidence:.0%}"
    text = f"{title}\n{facts}" + (f"\n<{link}|Open the alert>" if link else "")
    return {"text": text, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]}


def _pager(alert: Alert, link: str, routing_key: str) -> dict[str, Any]:
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": alert.alert_id,
        "payload": {
            "summary": alert.title[:1024],
            "source": "stillwatch",
            "severity": _PAGER[alert.severity],
            "timestamp": alert.updated_time,
            "component": alert.lane,
            "class": alert.kind,
            "custom_details": {
                "accounts": len(alert.members),
                "requests": alert.requests,
                "confidence": alert.confidence,
                "revision": alert.revision,
            },
        },
        "links": [{"href": link, "text": "Open the alert"}] if link else [],
    }


def _plain(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
