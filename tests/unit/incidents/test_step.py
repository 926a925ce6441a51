"""Incidents: one alert for one campaign, whatever the order of arrival; nobody entitled is named; nothing chains."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.config import DetectionConfig, IncidentPolicy
from detection.ids import rfc3339
from detection.incidents.step import IncidentsStep
from detection.outcomes import Alert, Evidence, Finding, Member
from schemas.alert import encode_alert
from schemas.entitlement import Entitlement

CONFIG = DetectionConfig()
HOP_MS = CONFIG.clocking.hop_ms
BASE = 1_900_000


def name(customer: int) -> str:
    return f"{customer:016x}"


def finding(
    subject: int,
    customers: range | list[int],
    *,
    hop: int = BASE,
    family: str = "prefix_16",
    score: float = 6.0,
    strength: float = 0.8,
    verified: float = 0.0,
) -> Finding:
    alone = not family
    return Finding(
        finding_id=f"{family}-{subject}-{hop}",
        lane="account" if alone else "pool",
        detector="directional_tail",
        family=family,
        subject=name(subject),
        hop=hop,
        event_time=rfc3339((hop + 1) * HOP_MS),
        score=score,
        threshold=3.0,
        customers=len(customers),
        requests=30 * len(customers),
        verified_share=verified,
        young_share=0.0,
        evidence=[Evidence(feature="disp", actual=0.0, expected=2.0, weight=1.0)],
        members=[
            Member(
                account=name(c),
                customer=name(c),
                requests=30,
                strength=strength,
                since=rfc3339((hop + 1) * HOP_MS),
            )
            for c in customers
        ],
        config_version=CONFIG.version,
    )


def play(findings: list[Finding], *, config: DetectionConfig = CONFIG, until: int = BASE + 100) -> list[Alert]:
    step = IncidentsStep(config, 1, 1)
    for item in findings:
        step.add(item)
    step.closed("accounts", 0, until)
    step.closed("pools", 0, until)
    return step.take()


def last(alerts: list[Alert]) -> dict[str, Alert]:
    return {alert.alert_id: alert for alert in alerts}


def named(alert: Alert, least: float = 0.5) -> set[int]:
    return {int(member.account, 16) for member in alert.members if member.strength > least}


def test_pools_of_the_same_customers_are_one_incident_that_grows() -> None:
    alerts = play(
        [
            finding(1, range(1, 21)),
            finding(2, range(1, 26), hop=BASE + 1, family="configuration", score=4.0),
            finding(1, range(1, 41), hop=BASE + 5),
        ]
    )
    assert [(alert.revision, len(alert.members)) for alert in alerts] == [(1, 20), (2, 25), (3, 40)]
    assert len(last(alerts)) == 1
    final = alerts[-1]
    assert {alert.event_time for alert in alerts} == {rfc3339((BASE + 1) * HOP_MS)}
    assert {reference.family for reference in final.findings} == {"prefix_16", "configuration"}
    assert final.members[0].since == rfc3339((BASE + 1) * HOP_MS)
    assert (final.kind, final.subject_kind, final.requests) == ("alert", "campaign", 1200)
    assert final.title.startswith("40 customers with the same first 16 words (and 1 more) act like one operator: ")


def test_a_pool_that_shares_too_little_is_an_incident_of_its_own() -> None:
    assert len(last(play([finding(1, range(1, 21)), finding(2, range(15, 41), family="suffix_8", score=5.0)]))) == 2


def test_a_crowd_that_shares_what_strangers_share_is_told_when_it_is_found_again() -> None:
    crowd = CONFIG.incidents.crowd
    odd_once = finding(1, range(1, crowd + 1), family="configuration")
    again = finding(1, range(1, crowd + 1), hop=BASE + 3, family="configuration")
    assert play([odd_once]) == []
    (alert,) = play([odd_once, again])
    assert (alert.revision, alert.event_time) == (1, rfc3339((BASE + 4) * HOP_MS))
    # Fewer, or a template of their own beside it, are told at once.
    assert len(play([finding(1, range(1, crowd), family="configuration")])) == 1
    assert len(play([odd_once, finding(2, range(1, crowd + 1), family="prefix_8", score=4.0)])) == 1
    # Nor does it count as something that stands open, from which bars are proposed.
    step = IncidentsStep(CONFIG, 1, 1)
    step.add(odd_once)
    step.closed("accounts", 0, BASE)
    step.closed("pools", 0, BASE)
    assert step.standing == []


def test_a_joining_pool_does_not_draw_its_strangers_into_the_core() -> None:
    alerts = play(
        [
            finding(1, range(1, 21)),
            # 8 of its 24 customers are members: it joins, but cannot vouch for the other 16.
            finding(2, range(13, 37), hop=BASE + 1, family="configuration"),
            # These share customers with the second pool only: no bridge leads from the first to them.
            finding(3, range(25, 49), hop=BASE + 2, family="suffix_8"),
        ]
    )
    first, second = last(alerts).values()
    assert named(first) == set(range(1, 21))
    assert {int(member.account, 16) for member in first.members} == set(range(1, 37))
    assert named(second) == set(range(25, 49))


def test_a_young_cohort_never_extends_a_core() -> None:
    alerts = play([finding(1, range(1, 21)), finding(2, range(1, 31), hop=BASE + 1, family="configuration_young")])
    (incident,) = last(alerts).values()
    assert named(incident) == set(range(1, 21))
    assert len(incident.members) == 30


def test_an_account_finding_joins_the_campaign_that_names_the_account_else_it_is_an_alert() -> None:
    alerts = play([finding(1, range(1, 21)), finding(7, [7], hop=BASE + 1, family=""), finding(99, [99], family="")])
    campaign, account = sorted(last(alerts).values(), key=lambda alert: alert.subject_kind, reverse=True)
    assert (campaign.subject_kind, account.subject_kind, account.subject) == ("campaign", "account", name(99))
    assert account.title.startswith("One account stands out")


def test_an_account_finding_within_a_group_of_probes_does_not_speak_for_it() -> None:
    def probe(account: int) -> Finding:
        one = finding(900, [account], family="", score=20.0)
        return msgspec.structs.replace(
            one, finding_id=f"probe-{account}", lane="probe", detector="bias_probe", threshold=20.0
        )

    alerts = play([probe(1), probe(2), finding(1, [1], family="", hop=BASE + 1, score=9.0)])
    (incident,) = last(alerts).values()
    assert named(incident) == {1, 2}
    assert incident.title.startswith("2 customers with the same settings read log probabilities")


def test_entitlements_always_win() -> None:
    def licence(subject: int, until: int = 2**52) -> Entitlement:
        return Entitlement(
            entitlement_id=f"e{subject}",
            subject_kind="organization",
            subject=name(subject),
            kind="licence",
            valid_from_unix_ms=0,
            valid_until_unix_ms=until,
        )

    def run(entitlements: list[Entitlement]) -> tuple[list[Alert], int]:
        step = IncidentsStep(CONFIG, 1, 1)
        for entitlement in entitlements:
            step.entitle(entitlement)
        step.add(finding(1, range(1, 11)))
        step.closed("accounts", 0, BASE)
        step.closed("pools", 0, BASE)
        return step.take(), step.suppressed

    (alert,), _ = run([licence(3), licence(4)])
    assert named(alert) == {1, 2, 5, 6, 7, 8, 9, 10}
    assert run([licence(customer) for customer in range(1, 7)]) == ([], 1)
    (expired,), _ = run([licence(customer, until=BASE * HOP_MS) for customer in range(1, 7)])
    assert len(expired.members) == 10


@pytest.mark.parametrize(
    ("family", "verified", "kind"),
    [
        ("prefix_16", 0.0, "alert"),
        ("prefix_16", 0.6, "verification_request"),
        ("network_configuration", 0.0, "verification_request"),
    ],
)
def test_what_cannot_be_told_from_a_firm_is_asked(family: str, verified: float, kind: str) -> None:
    (alert,) = play([finding(1, range(1, 13), family=family, verified=verified)])
    assert alert.kind == kind


def test_the_budget_lets_the_strongest_through_and_the_rest_wait_for_the_next_hour() -> None:
    config = DetectionConfig(incidents=IncidentPolicy(alerts_per_hour=2))
    findings = [finding(100 * i, range(100 * i, 100 * i + 5), score=4.0 + i) for i in range(1, 6)]
    alerts = play(findings, config=config)
    assert [alert.score for alert in alerts] == [9.0, 8.0, 7.0, 6.0, 5.0]
    # The hop BASE is the first of its hour; the next hours begin 4 and 8 hops later.
    assert [alert.event_time for alert in alerts] == [rfc3339((BASE + 1 + late) * HOP_MS) for late in (0, 0, 4, 4, 8)]


def test_an_incident_without_findings_for_a_week_is_closed_and_a_new_one_opens() -> None:
    week = CONFIG.incidents.quiet_ms // HOP_MS
    alerts = play([finding(1, range(1, 21)), finding(1, range(1, 21), hop=BASE + week + 1)], until=BASE + 2 * week)
    assert [alert.revision for alert in alerts] == [1, 1]
    assert len(last(alerts)) == 2


def scenario() -> list[Finding]:
    found = [finding(1, range(1, 21)), finding(50, [50], family="", hop=BASE + 1, score=4.0)]
    for hop in range(BASE + 1, BASE + 9):
        found += [
            finding(2, range(1, 20 + hop - BASE), hop=hop, family="configuration", score=3.5),
            finding(3, range(18, 30), hop=hop, family="system", score=5.0),
            finding(4, range(200, 210 + 2 * (hop - BASE)), hop=hop, family="network", score=4.0),
            finding(7, [7], hop=hop, family="", score=5.0 + hop - BASE),
        ]
    return found


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_neither_order_redelivery_nor_restart_changes_a_byte(data: st.DataObject) -> None:
    """Two sources of each job; findings and control records interleave at will, a restart may fall anywhere."""
    findings = scenario()
    expected = [encode_alert(alert) for alert in play(findings)]
    assert len(expected) > 5
    queues: dict[tuple[str, int], list[Finding | int]] = {("accounts", 0): [], ("accounts", 1): []}
    queues |= {("pools", 0): [], ("pools", 1): []}
    for (job, place), queue in queues.items():
        mine = [f for f in findings if (f.lane == "account") == (job == "accounts") and int(f.subject, 16) % 2 == place]
        for hop in range(BASE, BASE + 9):
            queue += [f for f in mine if f.hop == hop]
            queue.append(hop)
        queue.append(BASE + 100)
    step, alerts = IncidentsStep(CONFIG, 2, 2), []
    while any(queues.values()):
        source = data.draw(st.sampled_from(sorted(key for key, queue in queues.items() if queue)))
        record = queues[source].pop(0)
        if isinstance(record, int):
            step.closed(source[0], source[1], record)
        else:
            step.add(record)
            if data.draw(st.booleans()):
                step.add(record)
        alerts += step.take()
        if data.draw(st.integers(0, 9)) == 0:
            saved = step.state()
            step = IncidentsStep(CONFIG, 2, 2)
            step.load(saved)
            assert step.state() == saved
    assert [encode_alert(alert) for alert in alerts] == expected


def test_a_late_finding_of_a_closed_hop_changes_nothing() -> None:
    step = IncidentsStep(CONFIG, 1, 1)
    step.closed("accounts", 0, BASE)
    step.closed("pools", 0, BASE)
    step.add(finding(1, range(1, 21)))
    step.closed("accounts", 0, BASE + 1)
    step.closed("pools", 0, BASE + 1)
    assert step.take() == []


def test_a_state_of_other_partition_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="partition counts"):
        IncidentsStep(CONFIG, 1, 2).load(IncidentsStep(CONFIG, 1, 1).state())


def test_severity_and_confidence_rise_with_score_and_size() -> None:
    (small,) = play([finding(1, range(1, 6), score=3.1)])
    (large,) = play([finding(1, range(1, 301), score=6.0)])
    assert (small.severity, large.severity) == ("low", "critical")
    assert 0.4 < small.confidence < large.confidence <= 1.0
    found = [finding(1, range(1, 301), hop=BASE + late, score=6.0, family="configuration_cohort") for late in (0, 1)]
    (cohort,) = play(found)
    assert cohort.confidence < large.confidence


def test_an_alert_survives_its_own_json() -> None:
    (alert,) = play([finding(1, range(1, 6))])
    assert msgspec.json.decode(encode_alert(alert), type=Alert) == alert
