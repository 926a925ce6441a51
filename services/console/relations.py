"""The relation graph of an alert, as nodes and links: pools, accounts, organisations, other alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.console.wording import family_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.adapters.postgres.tables import AlertRow
    from services.api.models import AlertDetail


def graph(alert: AlertDetail, overlapping: Sequence[tuple[AlertRow, int]]) -> dict[str, Any]:
    """Give what the chart draws. ``kind`` chooses the colour; ``strength`` (0..1) the width of a link."""
    nodes: dict[str, dict[str, Any]] = {}
    links: list[dict[str, Any]] = []
    hub = f"alert/{alert.alert_id}"
    nodes[hub] = {"id": hub, "kind": "alert", "name": "this alert", "size": 26}
    best = max((finding.score for finding in alert.findings), default=1.0) or 1.0
    for finding in alert.findings:
        key = f"pool/{finding.subject}"
        if key not in nodes and finding.family:
            name = f"{family_words(finding.family)} ({finding.customers} customers)"
            nodes[key] = {"id": key, "kind": "pool", "name": name, "size": 16}
            links.append({"source": hub, "target": key, "strength": round(finding.score / best, 3)})
    organisations: dict[str, int] = {}
    for member in alert.members:
        organisations[member.customer] = organisations.get(member.customer, 0) + 1
    for member in alert.members:
        key = f"account/{member.account}"
        nodes[key] = {
            "id": key,
            "kind": "account",
            "name": f"account {member.account}",
            "size": 6 + 8 * member.strength,
        }
        nodes[key]["href"] = f"/accounts/{member.account}"
        links.append({"source": hub, "target": key, "strength": member.strength})
        # An organisation of one account says nothing that the account does not.
        if organisations[member.customer] > 1:
            owner = f"organisation/{member.customer}"
            nodes.setdefault(
                owner, {"id": owner, "kind": "organisation", "name": f"organisation {member.customer}", "size": 14}
            )
            links.append({"source": key, "target": owner, "strength": 0.5})
    for other, shared in overlapping:
        key = f"alert/{other.alert_id}"
        name = f"another alert with {shared} of the same accounts"
        nodes[key] = {"id": key, "kind": "other", "name": name, "size": 18, "href": f"/alerts/{other.alert_id}"}
        links.append({"source": hub, "target": key, "strength": min(shared / max(alert.member_count, 1), 1.0)})
    return {"nodes": list(nodes.values()), "links": links}
