"""Subscribers: where webhooks may go, how they are signed, what they say, and the OCSF projection."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ocsf
from services.adapters.postgres.webhooks import wait_seconds
from services.subscribers.signing import secret_of, signature, verify
from services.subscribers.targets import TargetRefusedError, find_target, is_public
from services.subscribers.templates import body_of
from tests.integration.database.samples import make_alert

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET, OLD = secret_of(b"m" * 32, "w1", 2), secret_of(b"m" * 32, "w1", 1)
NOW = 1_767_225_600


def answers(*addresses: str) -> Any:
    def look_up(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return look_up


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "no address",
    ],
)
def test_no_address_of_this_machine_or_its_network_is_a_target(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(TargetRefusedError):
        find_target("https://hooks.example.com/x", allow_private=False, look_up=answers("93.184.215.14", address))


def test_a_public_name_is_pinned_to_the_address_that_was_looked_at() -> None:
    target = find_target(
        "https://hooks.example.com/services/T1?x=1", allow_private=False, look_up=answers("93.184.215.14")
    )
    assert (target.host, target.address, target.port, target.path) == (
        "hooks.example.com",
        "93.184.215.14",
        443,
        "/services/T1?x=1",
    )
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    local = find_target("http://localhost:9/", allow_private=True, look_up=answers("127.0.0.1"))
    assert (local.secure, local.port) == (False, 9)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https:///x",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#x",
        "https://hooks.example.com:99999/",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        find_target(url, allow_private=False, look_up=answers("93.184.215.14"))


def test_a_name_without_an_address_is_refused() -> None:
    def nobody(_host: str, _port: int) -> Sequence[str]:
        raise OSError

    for look_up in (nobody, answers()):
        with pytest.raises(TargetRefusedError):
            find_target("https://hooks.example.com/", allow_private=True, look_up=look_up)


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_either_secret_verifies_while_one_is_turned_and_nothing_else_does(body: bytes, moment: int) -> None:
    header = signature([SECRET, OLD], body, moment)
    assert re.fullmatch(r"t=\d+,v1=[0-9a-f]{64},v1=[0-9a-f]{64}", header)
    assert verify(SECRET, header, body, moment)
    assert verify(OLD, header, body, moment + 300)
    assert not verify(SECRET, header, body, moment + 301)
    assert not verify(SECRET, header, body + b"x", moment)
    assert not verify(secret_of(b"m" * 32, "w2", 1), header, body, moment)
    assert not verify(SECRET, header.replace(f"t={moment}", f"t={moment + 1}"), body, moment)


@pytest.mark.parametrize("header", ["", "t=,v1=", "t=x,v1=00", "v1=00"])
def test_a_broken_header_verifies_nothing(header: str) -> None:
    assert not verify(SECRET, header, b"", NOW)


def test_retries_double_to_an_hour_and_never_come_together() -> None:
    assert [wait_seconds(attempt, 0.5) for attempt in (1, 2, 3, 11, 12)] == [5, 10, 20, 3600, 3600]
    assert (wait_seconds(1, 0.0), wait_seconds(1, 1.0)) == (2.5, 7.5)


def test_templates_say_what_chat_and_paging_services_take() -> None:
    alert = make_alert(1, revision=2, title="<script> & co")
    slack = json.loads(body_of("slack", alert, version="1", link="https://s.example/alerts/1"))
    assert "&lt;script&gt; &amp; co" in slack["text"]
    assert "<https://s.example/alerts/1|Open the alert>" in slack["blocks"][0]["text"]["text"]
    pager = json.loads(body_of("pagerduty", alert, version="1", link="", routing_key="r"))
    assert (pager["dedup_key"], pager["payload"]["severity"], pager["links"]) == (alert.alert_id, "error", [])
    assert json.loads(body_of("alert", alert, version="1", link=""))["type"] == "alert.v1"
    assert json.loads(body_of("ocsf", alert, version="1", link=""))["class_uid"] == 2004


# What OCSF 1.7 asks of class 2004, and the values of its enumerations that we use.
OCSF_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
    ],
    "properties": {
        "activity_id": {"enum": [0, 1, 2, 3, 99]},
        "category_uid": {"const": 2},
        "class_uid": {"const": 2004},
        "type_uid": {"enum": [200401, 200402, 200403]},
        "severity_id": {"enum": [0, 1, 2, 3, 4, 5, 6, 99]},
        "status_id": {"enum": [0, 1, 2, 3, 4, 5, 6, 99]},
        "verdict_id": {"type": "integer", "minimum": 0, "maximum": 10},
        "disposition_id": {"type": "integer", "minimum": 0, "maximum": 27},
        "confidence_score": {"type": "integer", "minimum": 0, "maximum": 100},
        "risk_score": {"type": "integer", "minimum": 0},
        "time": {"type": "integer", "minimum": 1_500_000_000_000},
        "metadata": {
            "type": "object",
            "required": ["version", "product"],
            "properties": {"product": {"required": ["name", "vendor_name"]}},
        },
        "finding_info": {
            "type": "object",
            "required": ["uid", "title"],
            "properties": {
                "attacks": {
                    "type": "array",
                    "items": {"type": "object", "required": ["technique"]},
                },
                "related_events_count": {"type": "integer"},
            },
        },
        "anomaly_analyses": {
            "type": "array",
            "items": {"type": "object", "required": ["analysis_targets", "anomalies"]},
        },
    },
}


@pytest.mark.parametrize("changes", [{}, {"revision": 3}, {"kind": "verification_request"}, {"members": 0}])
def test_every_alert_projects_to_a_valid_detection_finding(changes: dict[str, Any]) -> None:
    alert = make_alert(4, **changes)
    found = json.loads(ocsf.encode(alert, "0.1.0"))
    jsonschema.validate(found, OCSF_SCHEMA)
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert found["finding_info"]["uid"] == alert.alert_id
    assert ocsf.encode(alert, "0.1.0") == ocsf.encode(alert, "0.1.0")
