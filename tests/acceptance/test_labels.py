"""A verdict by the command line: a row in Postgres, a record that Kafka's own consumer reads, a model, decisions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.product import tell, wait_until
from tests.acceptance.topics import read_topic, revisions

if TYPE_CHECKING:
    from tests.acceptance.conftest import Live
    from tests.acceptance.product import Product

STRONG = 0.7  # The policy's least strength for a decision.
pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]
ACTOR, REASON = "ana@example.org", "Hundreds of fresh accounts that ask one after the other through one list."
LEAD = "lee, lead"


def _values(product: Product, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in read_topic(product.kafka, topic)]


def test_an_alert_is_labelled_and_everyone_hears_of_it(product: Product, live: Live) -> None:
    listed = product.json("alerts", "list", "--subject-kind", "campaign")["items"]
    raised = {json.loads(line)["alert_id"] for line in live.exported.splitlines()}
    alert = max((each for each in listed if each["alert_id"] in raised), key=lambda each: each["member_count"])
    answer = product.json("alerts", "label", alert["alert_id"], "true_positive", "--reason", REASON, "--actor", ACTOR)

    rows = product.rows(
        "SELECT label_id, alert_revision, verdict, reason, actor FROM labels WHERE alert_id = %s", alert["alert_id"]
    )
    assert rows == [(answer["label_id"], alert["revision"], "true_positive", REASON, ACTOR)]
    shown = product.json("alerts", "show", alert["alert_id"])
    assert (shown["state"], [label["label_id"] for label in shown["labels"]]) == ("labelled", [answer["label_id"]])

    consumed = product.run("kafka", "console-consumer", "labels", "--max-messages", "1", "--timeout-ms", "30000")
    headers, key, value = consumed.strip().split("\t")
    label = json.loads(value)
    assert key == alert["alert_id"] == label["alert_id"]
    assert "ce_type:" in headers
    assert (label["type"], label["label_id"], label["verdict"]) == ("label.v1", answer["label_id"], "true_positive")
    assert (label["reason"], label["actor"]) == (REASON, ACTOR)

    _assert_learned(product)
    _assert_decided(product, alert["alert_id"], alert["revision"])


def _assert_learned(product: Product) -> None:
    wait_until(lambda: bool(_values(product, "models")), 60, "the learning job publishes a version")
    version = _values(product, "models")[-1]
    assert (version["stage"], version["trained_on"], version["positives"]) == ("shadow", 1, 1)


def _proposals(product: Product, alert_id: str) -> list[dict[str, Any]]:
    listed = product.json("decisions", "list", "--subject", alert_id)["items"]
    return [row for row in listed if row["proposed_by"] == ACTOR]


def _assert_decided(product: Product, alert_id: str, revision: int) -> None:
    labelled = [
        alert
        for alert in map(json.loads, revisions(product.kafka))
        if (alert["alert_id"], alert["revision"]) == (alert_id, revision)
    ]
    strong = {member["account"] for member in labelled[0]["members"] if member["strength"] >= STRONG}
    assert strong
    wait_until(lambda: bool(_proposals(product, alert_id)), 60, "the verdict is a proposal")
    (proposed,) = _proposals(product, alert_id)
    assert proposed["accounts"] == len(strong)
    product.run("decisions", "approve", proposed["decision_id"], "--actor", ACTOR, code=1)  # A verdict of one's own.
    product.run("decisions", "approve", proposed["decision_id"], "--actor", LEAD)

    def issued() -> list[dict[str, Any]]:
        return [each for each in _values(product, "decisions") if each["decision_id"] == proposed["decision_id"]]

    wait_until(lambda: bool(issued()), 60, "the decision is out")
    (decision,) = issued()
    assert set(decision["members"]) == strong
    assert (decision["subject_kind"], decision["evidence_id"], decision["dry_run"]) == ("campaign", alert_id, True)
    tell(f"one label: 1 model in shadow, a decision about {len(strong)} accounts in dry run")
