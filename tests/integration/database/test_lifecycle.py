"""The life cycle on a real database: claims, verdicts, snoozes, undo, bulk, races, reviews, and what evidence does."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.adapters.postgres import audit, outbox
from services.adapters.postgres.alerts import AlertFilter, find_alert
from services.adapters.postgres.entitlements import Grant, add_entitlement, revoke_entitlement
from services.adapters.postgres.lifecycle import acts, bulk, claims, quality, reviews, undo
from services.adapters.postgres.lifecycle.standing import (
    ESCALATED,
    LEASE,
    Act,
    Assign,
    Claim,
    Close,
    Comment,
    Escalate,
    HeldError,
    Judge,
    NotPossibleError,
    Release,
    Snooze,
    Tag,
    Wake,
)
from services.adapters.postgres.partitions import ensure_ahead
from services.adapters.postgres.tables import AlertRow, AuditRow, LabelRow
from tests.integration.database.samples import NOW, make_alert, store

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
ALERT = make_alert(1).alert_id
JUDGE = Judge(verdict="benign", reason="a partner")
CLOSE = Close(reason="done")
SNOOZE = Snooze(until=NOW + timedelta(hours=4), reason="they know")


def by(actor: str = "ana", now: datetime = NOW, *, oversees: bool = False) -> acts.By:
    return acts.By(tenant="acme", actor=actor, now=now, oversees=oversees)


def do(engine: Engine, act: Act, who: acts.By | None = None, alert_id: str = ALERT, **options: Any) -> str:
    with Session(engine) as session, session.begin():
        return acts.perform(session, who or by(), alert_id, act, **options).act.act_id


def take_back(engine: Engine, act_id: str, who: acts.By | None = None) -> None:
    with Session(engine) as session, session.begin():
        undo.undo(session, who or by(), act_id)


def alert(engine: Engine, alert_id: str = ALERT) -> AlertRow:
    with Session(engine) as session:
        return find_alert(session, "acme", alert_id)


@pytest.fixture(autouse=True)
def alerts(engine: Engine) -> None:
    with engine.begin() as connection:
        # A partition that is made under way would be waited for.
        ensure_ahead(connection, NOW)
    store(engine, "acme", [make_alert(number, severity="low") for number in (2, 3)])
    store(engine, "acme", [make_alert(1, severity="critical")])


def test_next_gives_the_most_pressing_alert_and_each_to_one_person(engine: Engine) -> None:
    got: list[str] = []
    ready = threading.Barrier(2)

    def take(actor: str) -> None:
        ready.wait()
        with Session(engine) as session, session.begin():
            done = claims.claim_next(session, by(actor))
            got.append(done.alert.alert_id if done is not None else "none")

    takers = [threading.Thread(target=take, args=(actor,)) for actor in ("ana", "tom")]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(120)
    assert sorted(got) == [ALERT, make_alert(3).alert_id]
    with Session(engine) as session, session.begin():
        assert claims.claim_next(session, by("eva"), AlertFilter(severity="critical")) is None
        after = claims.claim_next(session, by("eva", NOW + LEASE), AlertFilter(severity="critical"))
        assert after is not None  # A lease that has ended holds nobody back.
        assert (after.alert.alert_id, after.alert.assignee) == (ALERT, "eva")


def test_what_another_holds_is_theirs_until_the_lease_ends_or_a_lead_comes(engine: Engine) -> None:
    do(engine, Claim(), by("ana"))
    for act in (Claim(), JUDGE, CLOSE, SNOOZE, Release(), Escalate(reason="x")):
        with pytest.raises(HeldError, match="ana holds the alert until"):
            do(engine, act, by("tom"))
    do(engine, Comment(text="I know these"), by("tom"))
    do(engine, Claim(), by("lea", oversees=True))
    assert alert(engine).assignee == "lea"
    do(engine, JUDGE, by("ana", NOW + LEASE))
    assert (alert(engine).state, alert(engine).assignee) == ("labelled", "ana")


def test_time_ends_leases_and_snoozes_and_the_audit_says_so(engine: Engine) -> None:
    do(engine, Claim())
    do(engine, SNOOZE, alert_id=make_alert(2).alert_id)
    with engine.begin() as connection:
        assert claims.sweep(connection, "acme", NOW + LEASE - timedelta(seconds=1)) == 0
        assert claims.sweep(connection, "acme", NOW + timedelta(hours=4)) == 2
        assert claims.sweep(connection, "acme", NOW + timedelta(hours=4)) == 0
    assert [alert(engine, make_alert(number).alert_id).state for number in (1, 2)] == ["open", "open"]
    with Session(engine) as session:
        told = session.scalars(select(AuditRow.action).where(AuditRow.actor == "clock")).all()
    assert sorted(told) == ["alert.lease_ended", "alert.woken"]


def test_undo_restores_the_alert_and_tells_the_topic(engine: Engine) -> None:
    do(engine, Claim())
    first = do(engine, JUDGE)
    second = do(engine, Judge(verdict="true_positive", reason="no: a farm"))
    with pytest.raises(undo.SupersededError):
        take_back(engine, first)
    with pytest.raises(undo.NotYoursError):
        take_back(engine, second, by("tom"))
    take_back(engine, second)
    with pytest.raises(undo.SupersededError):
        take_back(engine, second)
    with Session(engine) as session:
        standing = session.get_one(LabelRow, ("acme", alert(engine).label_id))
        assert (standing.verdict, standing.reason) == ("benign", "a partner")
    take_back(engine, first, by("lea", oversees=True))
    assert (alert(engine).state, alert(engine).label_id, alert(engine).assignee) == ("claimed", None, "ana")
    with engine.begin() as connection:
        sent = []
        while rows := outbox.take(connection, "acme", 10):
            sent += [row.value.split(b'"verdict":"')[1].split(b'"')[0].decode() for row in rows]
            outbox.mark_relayed(connection, [row.id for row in rows], NOW)
    assert sent == ["benign", "true_positive", "benign", "withdrawn"]
    with Session(engine) as session, pytest.raises(undo.UnknownActError):
        undo.undo(session, acts.By(tenant="other", actor="ana", now=NOW), first)


def test_notes_and_snoozes_are_marked_and_kept(engine: Engine) -> None:
    note = do(engine, Comment(text="seen before"))
    take_back(engine, note)
    snooze = do(engine, SNOOZE)
    longer = do(engine, Snooze(until=NOW + timedelta(days=2), reason="longer"))
    with Session(engine) as session:
        assert [row.withdrawn_at for row in acts.list_notes(session, "acme", ALERT)] == [NOW]
        assert sorted(row.ended_at is None for row in acts.list_snoozes(session, "acme", ALERT)) == [False, True]
    take_back(engine, longer)
    assert alert(engine).snoozed_until == SNOOZE.until
    woken = do(engine, Wake())
    assert alert(engine).state == "open"
    take_back(engine, woken)
    assert alert(engine).state == "snoozed"
    take_back(engine, snooze)
    assert alert(engine).state == "open"
    with Session(engine) as session:
        assert all(row.ended_at is not None for row in acts.list_snoozes(session, "acme", ALERT))


def test_a_snooze_hides_later_alerts_of_its_subject_and_detector_only(engine: Engine) -> None:
    do(engine, SNOOZE)
    subject = alert(engine).subject
    same = make_alert(11, subject=subject)
    other_detector = make_alert(12, subject=subject, findings=[])
    store(engine, "acme", [same, other_detector])
    assert alert(engine, same.alert_id).state == "snoozed"
    assert alert(engine, same.alert_id).snoozed_until == SNOOZE.until
    assert alert(engine, other_detector.alert_id).state == "open"
    store(engine, "acme", [make_alert(13, subject=subject)], NOW + timedelta(hours=5))
    assert alert(engine, make_alert(13).alert_id).state == "open"


def test_closed_reopens_on_new_findings_only_and_says_which(engine: Engine) -> None:
    with pytest.raises(NotPossibleError):
        do(engine, Snooze(until=NOW + timedelta(days=200), reason="x"))
    closing = do(engine, CLOSE)
    for act in (Claim(), JUDGE, SNOOZE, Assign(assignee="tom")):
        with pytest.raises(NotPossibleError, match="closed"):
            do(engine, act)
    do(engine, Tag(tags=["b", "a", "b"]))
    same_findings = make_alert(1, 2, findings=make_alert(1).findings)
    store(engine, "acme", [same_findings])
    assert (alert(engine).state, alert(engine).revision, alert(engine).tags) == ("closed", 2, ["a", "b"])
    store(engine, "acme", [make_alert(1, 3)])
    assert (alert(engine).state, alert(engine).reopened_revision) == ("reopened", 3)
    with Session(engine) as session:
        told = session.scalars(select(AuditRow.after).where(AuditRow.action == "alert.reopened")).one()
        assert told is not None
        assert told["findings"] == [row.finding_id for row in make_alert(1, 3).findings[1:]]
    with pytest.raises(undo.SupersededError):  # What evidence did, nobody undoes.
        take_back(engine, closing)
    with Session(engine) as session, session.begin():
        done = claims.claim_next(session, by("tom"))
        assert done is not None
        assert done.alert.alert_id == ALERT
    do(engine, Release(), by("tom"))
    assert alert(engine).state == "reopened"


def test_evidence_never_takes_a_verdict_a_claim_or_a_snooze(engine: Engine) -> None:
    do(engine, JUDGE)
    do(engine, SNOOZE, alert_id=make_alert(2).alert_id)
    do(engine, Claim(), alert_id=make_alert(3).alert_id)

    def held() -> list[tuple[Any, ...]]:
        rows = [alert(engine, make_alert(number).alert_id) for number in (1, 2, 3)]
        return [(row.state, row.label_id, row.snoozed_until, row.lease_until) for row in rows]

    before = held()
    store(engine, "acme", [make_alert(number, 5) for number in (1, 2, 3)])
    after = held()
    assert before == after
    assert [row[0] for row in after] == ["labelled", "snoozed", "claimed"]


def test_an_entitlement_always_wins(engine: Engine) -> None:
    do(engine, CLOSE)
    customer = make_alert(1).members[0].customer
    grant = Grant(
        subject_kind="organization",
        subject=customer,
        kind="licence",
        valid_from=NOW,
        valid_until=NOW + timedelta(days=9),
        reference="contract 7",
        actor="lea",
    )
    with Session(engine) as session, session.begin():
        entitlement_id = add_entitlement(session, "acme", grant, NOW).entitlement_id
    # A licence that has ended holds on for its time of grace.
    assert alert(engine).entitled_until == grant.valid_until + timedelta(milliseconds=grant.grace_ms)
    store(engine, "acme", [make_alert(1, 2)])
    assert alert(engine).state == "closed"  # New evidence against who is licensed is no news.
    with Session(engine) as session, session.begin():
        revoke_entitlement(session, "acme", entitlement_id, actor="lea", now=NOW + timedelta(hours=1))
    assert alert(engine).entitled_until is None
    store(engine, "acme", [make_alert(1, 3)], NOW + timedelta(hours=2))
    assert alert(engine).state == "reopened"


def test_an_entitled_alert_is_not_in_the_queue(engine: Engine) -> None:
    grant = Grant(
        subject_kind="organization",
        subject=make_alert(1).members[0].customer,
        kind="allowlist",
        valid_from=NOW,
        valid_until=NOW + timedelta(days=9),
        reference="ticket 7",
        actor="lea",
    )
    with Session(engine) as session, session.begin():
        add_entitlement(session, "acme", grant, NOW)
    with Session(engine) as session, session.begin():
        taken = {done.alert.alert_id for _ in range(2) if (done := claims.claim_next(session, by())) is not None}
        assert taken == {make_alert(2).alert_id, make_alert(3).alert_id}
        assert claims.claim_next(session, by()) is None
        assert claims.claim_next(session, by("tom", grant.valid_until)) is not None


def test_two_who_race_for_one_alert(engine: Engine) -> None:
    version = frozenset({alert(engine).version})
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    def judge(actor: str) -> None:
        ready.wait()
        try:
            do(engine, JUDGE, by(actor), expected_versions=version)
            outcomes.append("won")
        except acts.LostRaceError:
            outcomes.append("told")

    racers = [threading.Thread(target=judge, args=(actor,)) for actor in ("ana", "tom")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert sorted(outcomes) == ["told", "won"]
    with Session(engine) as session:
        assert len(session.scalars(select(LabelRow)).all()) == 1


def test_bulk_does_what_it_can_tells_the_rest_and_is_undone(engine: Engine) -> None:
    do(engine, Claim(), by("tom"), make_alert(2).alert_id)
    everything = AlertFilter()
    with Session(engine) as session, session.begin():
        assert bulk.preview(session, "acme", AlertFilter(severity="low")).count == 2
        with pytest.raises(bulk.MovedOnError):
            bulk.start(session, by(), everything, JUDGE, expected=2)
    with Session(engine) as session, session.begin():
        row, ids = bulk.start(session, by(), everything, JUDGE, expected=3)
        bulk_id = row.bulk_id
    done = bulk.run(engine, by(), bulk_id, ids, JUDGE)
    assert (done.total, done.done, done.finished_at) == (3, 2, NOW)
    assert list(done.failures) == [make_alert(2).alert_id]
    assert "tom holds" in done.failures[make_alert(2).alert_id]
    do(engine, Comment(text="later"), alert_id=make_alert(3).alert_id)
    undone = bulk.take_back(engine, by(), bulk_id)
    assert (undone.done, list(undone.failures), undone.undone_at) == (1, [make_alert(3).alert_id], NOW)
    assert [alert(engine, make_alert(n).alert_id).state for n in (1, 2, 3)] == ["open", "claimed", "labelled"]
    with pytest.raises(bulk.UnknownBulkError):
        bulk.take_back(engine, acts.By(tenant="other", actor="ana", now=NOW), bulk_id)


def test_bulk_is_capped(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CAP", 2)
    with Session(engine) as session, pytest.raises(bulk.TooManyError):
        bulk.start(session, by(), AlertFilter(), JUDGE, expected=3)


def test_escalation_gives_it_back_with_a_note(engine: Engine) -> None:
    do(engine, Claim())
    do(engine, Escalate(reason="needs a lead"))
    assert (alert(engine).state, alert(engine).assignee, alert(engine).tags) == ("open", None, [ESCALATED])
    with Session(engine) as session:
        assert [row.body for row in acts.list_notes(session, "acme", ALERT)] == ["Escalated: needs a lead"]
    do(engine, Assign(assignee="lea"))
    with Session(engine) as session, session.begin():
        taken = [claims.claim_next(session, by()) for _ in range(3)]
        assert [done is not None for done in taken] == [True, True, False]  # What is lea's is left to lea.
        mine = claims.claim_next(session, by("lea"))
        assert mine is not None
        assert mine.alert.alert_id == ALERT


def test_second_verdicts_are_blind_and_by_somebody_else(engine: Engine) -> None:
    do(engine, JUDGE)
    with Session(engine) as session, session.begin():
        label = session.scalars(select(LabelRow)).one()
        review_id = reviews.ask(session, label, NOW).review_id
    given = {"verdict": "true_positive", "reason": "a farm", "now": NOW}
    with Session(engine) as session, session.begin():
        assert review_id not in {row.review_id for row in reviews.list_open(session, "acme", "ana")}
        assert review_id in {row.review_id for row in reviews.list_open(session, "acme", "tom")}
        with pytest.raises(reviews.NotForYouError):
            reviews.give(session, "acme", review_id, actor="ana", **given)
        reviews.give(session, "acme", review_id, actor="tom", **given)
        with pytest.raises(reviews.ReviewedAlreadyError):
            reviews.give(session, "acme", review_id, actor="eva", **given)
        row = reviews.find(session, "acme", review_id)
        assert row in reviews.list_disagreements(session, "acme")
        for actor in ("ana", "tom"):
            with pytest.raises(reviews.NotForYouError):
                reviews.require_third(row, actor)
        reviews.require_third(row, "lea")
    assert alert(engine).state == "labelled"  # The first verdict stands until it is settled.
    with Session(engine) as session:
        measured = quality.measure(session, "acme")
    assert (measured.labels, measured.reviews, measured.agreement) == (1, 1, 0.0)
    assert [(row.detector, row.judged, row.confirmed) for row in measured.precision] == [("half-space-trees", 1, 0)]
    assert measured.latency_p50_seconds == 0.0


def test_about_a_tenth_of_the_labels_is_drawn() -> None:
    assert 0.08 < sum(reviews.drawn(f"{number:032x}") for number in range(5000)) / 5000 < 0.12


def test_all_of_it_is_in_an_unbroken_audit(engine: Engine) -> None:
    for act in (Claim(), Comment(text="x"), JUDGE, CLOSE):
        do(engine, act)
    with Session(engine) as session:
        found = audit.verify(session, "acme")
        assert (found.whole, found.rows) == (True, 4)
        newest = audit.list_acts(session, "acme", subject=f"alert/{ALERT}", limit=1).rows[0]
    assert (newest.action, newest.actor) == ("alert.closed", "ana")
    assert newest.before is not None
    assert newest.before["state"] == "labelled"
