"""Who may use each route of this room. A route that is not here answers nobody, and the application does not start."""

from __future__ import annotations

from typing import Final

from services.identity.rules import PUBLIC, SIGNED_IN, Rule, may

READ: Final = may("alerts.read")
ACT: Final = may("alerts.act")
RULES: Final[dict[str, Rule]] = {
    # Probes of load balancers have no name; they learn whether parts answer, and nothing of what they hold.
    "GET /livez": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "HEAD /openapi.json": PUBLIC,
    "GET /docs.json": PUBLIC,
    "GET /signin": PUBLIC,
    "POST /signin": PUBLIC,
    "GET /signin/oidc": PUBLIC,
    "GET /signin/oidc/callback": PUBLIC,
    "POST /signout": SIGNED_IN,
    "GET /v1/me": SIGNED_IN,
    "GET /v1/alerts": READ,
    "GET /v1/alerts/{alert_id}": READ,
    "GET /v1/campaigns": READ,
    "GET /v1/campaigns/{alert_id}/members": READ,
    "GET /v1/accounts/{account}": READ,
    "GET /v1/labels": READ,
    "GET /v1/labels/{label_id}": READ,
    "POST /v1/labels": ACT,
    "POST /v1/alerts/{alert_id}/acts": ACT,
    "GET /v1/alerts/{alert_id}/history": READ,
    "POST /v1/alerts/{alert_id}/dossier": ACT,
    "POST /v1/queue/next": ACT,
    "POST /v1/acts/{act_id}/undo": ACT,
    "POST /v1/bulk/preview": ACT,
    "POST /v1/bulk": ACT,
    "GET /v1/bulk/{bulk_id}": ACT,
    "POST /v1/bulk/{bulk_id}/undo": ACT,
    "GET /v1/reviews": ACT,
    "POST /v1/reviews/{review_id}": ACT,
    "GET /v1/disagreements": may("alerts.oversee"),
    "POST /v1/disagreements/{review_id}": may("alerts.oversee"),
    "GET /v1/quality": READ,
    "GET /v1/entitlements": READ,
    "POST /v1/entitlements": may("entitlements.approve"),
    "POST /v1/entitlements/{entitlement_id}/revoke": may("entitlements.approve"),
    "GET /v1/decisions": READ,
    "GET /v1/decisions/stream": may("decisions.read"),
    "GET /v1/decisions/{decision_id}": READ,
    "POST /v1/decisions": may("decisions.propose"),
    "POST /v1/decisions/kill-switch": may("decisions.approve"),
    "POST /v1/decisions/{decision_id}/approve": may("decisions.approve"),
    "POST /v1/decisions/{decision_id}/reject": may("decisions.approve"),
    "POST /v1/decisions/{decision_id}/revoke": may("decisions.approve"),
    "GET /v1/users": may("users.manage"),
    "POST /v1/users": may("users.manage"),
    "PUT /v1/users/{name}/roles": may("users.manage"),
    "PUT /v1/users/{name}/password": may("users.manage"),
    "PUT /v1/users/{name}/disabled": may("users.manage"),
    "GET /v1/keys": may("keys.manage"),
    "POST /v1/keys": may("keys.manage"),
    "POST /v1/keys/{key_id}/revoke": may("keys.manage"),
    "GET /v1/audit": may("audit.read"),
    "GET /v1/audit/verification": may("audit.read"),
}
