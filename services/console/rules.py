"""Who may use each page. Reading is every role's; acting, approving and managing are told apart as in the API."""

from __future__ import annotations

from typing import Final

from services.identity.rules import PUBLIC, Rule, may

READ: Final = may("alerts.read")
ACT: Final = may("alerts.act")
RULES: Final[dict[str, Rule]] = {
    "GET /": READ,
    "GET /console/series": READ,
    "GET /console/events": READ,
    # Style and scripts; nothing of anybody's.
    "GET /console/static/{name:path}": PUBLIC,
    "GET /favicon.ico": PUBLIC,
    # Browsers report what the content policy refused, without a session's cookie.
    "POST /csp-report": PUBLIC,
    "GET /console/reports": may("audit.read"),
    "GET /queue": READ,
    "GET /queue/organisations": READ,
    "GET /queue/{alert_id}/members": READ,
    "POST /queue/next": ACT,
    "POST /queue/bulk": ACT,
    "POST /queue/bulk/run": ACT,
    "GET /bulk/{bulk_id}": READ,
    "POST /bulk/{bulk_id}/undo": ACT,
    "GET /alerts/{alert_id}": READ,
    "GET /alerts/{alert_id}/graph.json": READ,
    "POST /alerts/{alert_id}/act": ACT,
    "POST /acts/{act_id}/undo": ACT,
    "GET /accounts/{account}": READ,
    "GET /accounts/{account}/windows": READ,
    "GET /search": READ,
    "POST /search": READ,
    "GET /export": READ,
    "GET /export/alerts.{form}": READ,
    "GET /export/members/{alert_id}": READ,
    "GET /quality": READ,
    "GET /quality/review": ACT,
    "POST /quality/review/{review_id}": ACT,
    "GET /models": READ,
    "POST /models/promote": may("detection.publish"),
    "POST /models/retire": may("detection.publish"),
    "POST /models/undo": may("detection.publish"),
    "GET /entitlements": READ,
    "POST /entitlements": may("entitlements.propose"),
    "POST /entitlements/proposals/{proposal_id}/approve": may("entitlements.approve"),
    "POST /entitlements/proposals/{proposal_id}/reject": may("entitlements.approve"),
    "POST /entitlements/{entitlement_id}/revoke": may("entitlements.approve"),
    "GET /enforcement": READ,
    "POST /enforcement": may("decisions.propose"),
    "POST /enforcement/{decision_id}/approve": may("decisions.approve"),
    "POST /enforcement/{decision_id}/reject": may("decisions.approve"),
    "POST /enforcement/{decision_id}/revoke": may("decisions.approve"),
    "GET /shadow": READ,
    "POST /shadow": may("detection.configure"),
    "GET /shadow/{trial_id}": READ,
    "GET /shadow/{trial_id}/config.json": READ,
    "POST /shadow/{trial_id}/approve": may("detection.publish"),
    "GET /audit": may("audit.read"),
    "GET /people": may("users.manage"),
    "POST /people": may("users.manage"),
    "POST /people/{name}/roles": may("users.manage"),
    "POST /people/{name}/disable": may("users.manage"),
    "POST /people-keys": may("keys.manage"),
    "POST /people-keys/{key_id}/revoke": may("keys.manage"),
}
