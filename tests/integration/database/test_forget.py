"""Erasure on a real broker and a real database: found before, gone after, and what is left has an end."""

from __future__ import annotations

import json
import secrets
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import Producer
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from detection.config import DecisionPolicy, DetectionConfig
from detection.incidents.step import IncidentsStep
from detection.outcomes import Member
from detection.policy.decisions import Proposal
from schemas import topics
from schemas.account_attributes import AccountAttributes
from schemas.account_window import AccountWindow
from schemas.alert import encode_alert
from schemas.finding import encode_finding
from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.kafka.reading import open_reader, read_topic
from services.adapters.postgres import audit, decisions, entitlements, forgetting, issuing
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.moments import read_moment
from services.adapters.postgres.tables import AlertRow
from services.adapters.signatures import Signer, Verifier
from services.cli import main as cli
from services.cli.forget import LEFT
from services.dossiers import case, sealing
from stream_jobs.incidents.state import split
from tests.integration.database.samples import make_alert, store
from tests.stream_jobs.findings import finding
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
TENANT = "acme"


class Case:
    """An organisation with two accounts, a neighbour who stays, and everything that is known of them."""

    def __init__(self, servers: str, engine: Engine) -> None:
        self.servers = servers
        self.engine = engine
        self.now = utc_now()
        # Drawn, because other tests write to the same topics.
        self.organisation, self.first, self.second, self.neighbour = (secrets.token_hex(8) for _ in range(4))
        self.names = (self.organisation, self.first, self.second)
        self.moment = f"{self.now:%Y-%m-%dT%H}:00:00Z"

    def member(self, account: str, customer: str) -> Member:
        return Member(account=account, customer=customer, requests=50, strength=0.8, since=self.moment)

    def fill_database(self) -> None:
        members = [self.member(self.first, self.organisation), self.member(self.neighbour, self.neighbour)]
        told: dict[str, Any] = {"event_time": self.moment, "updated_time": self.moment}
        campaign = make_alert(1, members=0, **told)
        own = make_alert(2, members=0, **told)
        self.alerts = [
            msgspec.structs.replace(campaign, members=members),
            msgspec.structs.replace(
                own,
                lane="account",
                subject_kind="account",
                subject=self.first,
                members=members[:1],
                findings=[msgspec.structs.replace(own.findings[0], subject=self.first)],
            ),
        ]
        store(self.engine, TENANT, self.alerts, self.now)
        with Session(self.engine) as session, session.begin():
            reason = f"one operator with {self.first}"
            wish = Wish(alert_id=self.alerts[1].alert_id, verdict="true_positive", reason=reason, actor="ana")
            label_alert(session, TENANT, wish, self.now)
        self.entitlement = self.entitle()
        self.sent()

    def entitle(self) -> str:
        grant = entitlements.Grant(
            subject_kind="organization",
            subject=self.organisation,
            kind="licence",
            valid_from=self.now - timedelta(days=1),
            valid_until=self.now + timedelta(days=30),
            reference="contract 7",
            actor="lea",
        )
        with Session(self.engine) as session, session.begin():
            return entitlements.add_entitlement(session, TENANT, grant, self.now).entitlement_id

    def revoke(self) -> None:
        with Session(self.engine) as session, session.begin():
            entitlements.revoke_entitlement(session, TENANT, self.entitlement, actor="lea", now=self.now)

    def sent(self) -> None:
        """Say that the relay has sent what the outbox holds."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE outbox SET relayed_at = now() WHERE relayed_at IS NULL"))

    def fill_topics(self) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "partitioner": "murmur2_random"})
        for account in (self.first, self.second):
            record = AccountAttributes(account=account, organization=self.organisation)
            producer.produce(topics.ACCOUNT_ATTRIBUTES.name, msgspec.json.encode(record), account)
        record = AccountAttributes(account=self.neighbour)
        producer.produce(topics.ACCOUNT_ATTRIBUTES.name, msgspec.json.encode(record), self.neighbour)
        window = AccountWindow(
            account=self.second,
            organization=self.organisation,
            hop=1,
            hop_end_unix_ms=1_800_000,
            requests=1,
            input_tokens=1,
            output_tokens=1,
            errors=0,
            total_requests=1,
            score=0.95,
            late=0,
        )
        producer.produce(topics.ACCOUNT_WINDOWS.name, msgspec.json.encode(window), self.second)
        producer.produce(topics.ENTITLEMENTS.name, json.dumps({"subject": self.organisation}), self.organisation)
        for alert in self.alerts:
            producer.produce(topics.ALERTS.name, encode_alert(alert), alert.alert_id)
        # As rows of the accounts job: the number's eight bytes.
        producer.produce(topics.ACCOUNTS_STATE.name, b"\x02" + bytes.fromhex(self.first)[::-1], self.first)
        step = IncidentsStep(DetectionConfig(), 1, 1)
        step.add(finding("pool", 1, secrets.token_hex(8), [int(self.first, 16), 2, 3], 4.0))
        for part in split(asof=10**9, blob=step.state(), slot="a"):
            producer.produce(topics.INCIDENTS_STATE.name, part.value, part.key)
        producer.produce(topics.FINDINGS.name, encode_finding(finding("account", 1, self.first, [1], 4.0)), self.first)
        assert producer.flush(30) == 0

    def live(self, topic: topics.Topic) -> dict[bytes, bytes]:
        with closing(open_reader({"bootstrap.servers": self.servers}, "test-forget")) as reader:
            newest = {record.key or b"": record.value for record in read_topic(reader, topic.name)}
        return {key: value for key, value in newest.items() if value is not None}

    def dump(self) -> str:
        """Every row of every table, as text, by a way that the erasure does not know."""
        with self.engine.connect() as connection:
            names = connection.execute(
                text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
            ).scalars()
            rows = [str(row) for name in names for row in connection.execute(text(f'SELECT * FROM "{name}"'))]  # noqa: S608 - names of the catalogue
        return "\n".join(rows)


@pytest.fixture
def known(
    bootstrap_servers: str, database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Case]:
    make_topics(bootstrap_servers, {topic.name: {} for topic in topics.TOPICS})
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "DATABASE_URL": database_url,
        "TENANT": TENANT,
        "BASE_DIR": str(tmp_path),
        "ACTOR": "dpo",
    }.items():
        monkeypatch.setenv(f"STILLWATCH_{name}", value)
    bootstrap.load_settings.cache_clear()
    made = Case(bootstrap_servers, engine)
    made.fill_database()
    made.fill_topics()
    yield made
    bootstrap.load_settings.cache_clear()


def stillwatch(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(cli.app, ["forget", *arguments, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


def places(told: Any) -> dict[str, Any]:
    return {f"{place['kind']} {place['name']}": place for place in told["places"]}


def test_an_organisation_is_forgotten_everywhere_but_where_an_end_is_told(known: Case) -> None:
    code, before = stillwatch("--organisation", known.organisation, "--verify")
    assert (code, before["clean"], before["accounts"], before["forgotten_at"]) == (LEFT, False, 2, [])
    held = {name for name, place in places(before).items() if place["records"] and place["until"] is None}
    assert {f"table {name}" for name in ("alerts", "alert_revisions", "campaign_members", "evidence", "labels")} < held
    assert {"table entitlements", "table audit", "table outbox"} < held
    assert {"topic account-attributes", "topic entitlements"} < held

    with pytest.raises(forgetting.StillEntitledError):
        stillwatch("--organisation", known.organisation)
    known.revoke()
    with pytest.raises(forgetting.UnsentError):
        stillwatch("--organisation", known.organisation)
    known.sent()
    code, looked = stillwatch("--organisation", known.organisation, "--dry-run")
    assert (code, looked["accounts"]) == (0, sorted((known.first, known.second)))
    assert looked["would_delete"] == {"account-attributes": 2, "entitlements": 1}
    assert any(name in known.dump() for name in known.names)

    code, done = stillwatch("--organisation", known.organisation)
    assert (code, done["clean"], done["accounts"]) == (0, True, 2)
    assert done["deleted"] == {"account-attributes": 2, "entitlements": 1}
    assert done["rows"]["alerts"] == 2
    assert done["rows"]["labels"] == 1
    # Nothing that is left lacks an end, and nothing is where it could have been deleted.
    left = places(done)
    assert {"topic alerts", "topic account-windows", "topic accounts-state", "topic incidents-state"} < set(left)
    assert all(place["until"] for place in left.values() if place["records"])
    assert not [name for name in left if name.startswith("table")]
    # By a way of our own: a dump, and the newest record of each key.
    dump = known.dump()
    assert not [name for name in known.names if name in dump]
    assert known.neighbour in dump
    attributes = known.live(topics.ACCOUNT_ATTRIBUTES)
    assert known.neighbour.encode() in attributes
    assert not {known.first.encode(), known.second.encode()} & set(attributes)
    assert known.organisation.encode() not in known.live(topics.ENTITLEMENTS)

    code, again = stillwatch("--organisation", known.organisation, "--verify")
    assert (code, again["clean"], len(again["forgotten_at"])) == (0, True, 1)


def test_what_was_decided_stays_and_the_audit_is_whole(known: Case) -> None:
    known.revoke()
    known.sent()
    with Session(known.engine) as session:
        before = audit.verify(session, TENANT)
    stillwatch("--organisation", known.organisation)
    with Session(known.engine) as session:
        found = audit.verify(session, TENANT)
        assert found.whole
        assert (found.rows, before.whole) == (before.rows + 1, True)
        assert found.forgotten  # Rows about the entitlement, which named the organisation.
        row = session.get_one(AlertRow, (TENANT, known.alerts[1].alert_id))
        told = msgspec.json.decode(bytes(row.record))
        # One pseudonym in all the places of one identifier, and the verdict on it.
        assert row.subject == told["subject"] == told["members"][0]["account"] == row.payload["findings"][0]["subject"]
        assert row.state == "labelled"
        verdict = session.execute(text("SELECT subject, reason FROM labels")).one()
        assert verdict.reason == f"one operator with {verdict.subject}"
        assert verdict.subject == row.subject
        told = case.collect(session, TENANT, known.alerts[1].alert_id, known.now, "1")
        sealing.verify(sealing.seal(told, bytes(32)))
    with pytest.raises(Exception, match="only added, never changed"), known.engine.begin() as connection:
        connection.execute(text("UPDATE labels SET verdict = 'benign'"))
    named = {"old": row.subject, "new": "0" * 16}
    with known.engine.connect() as connection:
        connection.execute(text("SELECT set_config('stillwatch.forgotten', :old, true)"), named)
        connection.execute(text("SELECT set_config('stillwatch.pseudonym', :new, true)"), named)
        with pytest.raises(Exception, match="only added, never changed"):
            connection.execute(text("UPDATE labels SET subject = :new, verdict = 'benign'"), named)
        connection.rollback()
    with known.engine.connect() as connection:
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("UPDATE audit SET subject = 'entitlement/x' WHERE seq = 1"))
        assert audit.verify(Session(bind=connection), TENANT).broken_at == 1
        connection.rollback()


def test_a_decision_in_force_stands_until_its_end(known: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    known.revoke()
    policy = DecisionPolicy(dry_run=False)
    wanted = Proposal(
        subject_kind="account",
        subject=known.first,
        members=[(known.first, known.organisation)],
        action="throttle",
        reason_codes=["lane.account"],
        evidence_id=known.alerts[1].alert_id,
        lifetime_ms=policy.restrict_ms,
        automatic=True,
    )
    with Session(known.engine) as session, session.begin():
        source = decisions.Source(revision=1, label_id="", judge="")
        assert decisions.propose_by_policy(session, TENANT, wanted, source, known.now) is not None
        issuing.issue_approved(session, TENANT, Signer(bytes(32)), policy, known.now)
    with Session(known.engine) as session:
        key = f"account:{known.first}"
        value = session.execute(text("SELECT value FROM outbox WHERE key = :key"), {"key": key}).scalar_one()
    producer = Producer({"bootstrap.servers": known.servers, "partitioner": "murmur2_random"})
    producer.produce(topics.DECISIONS.name, bytes(value), key)
    assert producer.flush(30) == 0
    known.sent()

    code, done = stillwatch("--account", known.first)
    assert (code, done["clean"], done["deleted"]) == (0, True, {"account-attributes": 1})
    kept = places(done)
    end = Verifier([Signer(bytes(32)).public], TENANT).read(bytes(value)).expires_at
    for name in ("table decisions", "topic decisions"):
        assert kept[name]["records"] == 1
        assert read_moment(kept[name]["until"]) == read_moment(end)
    assert key.encode() in known.live(topics.DECISIONS)

    monkeypatch.setattr("services.cli.forget.utc_now", lambda: read_moment(end) + timedelta(seconds=1))
    code, overdue = stillwatch("--account", known.first, "--verify")
    assert code == LEFT
    assert [place["name"] for place in overdue["places"] if place["records"] and not place["until"]] == [
        "decisions"
    ] * 2
    code, done = stillwatch("--account", known.first)
    assert (code, done["deleted"], len(done["forgotten_at"])) == (0, {"decisions": 1}, 2)
    assert not [name for name in places(done) if "decisions" in name]
    assert key.encode() not in known.live(topics.DECISIONS)
    assert known.first not in known.dump()


def test_logs_can_be_left_unread_and_wrong_names_are_refused(known: Case) -> None:
    code, told = stillwatch("--account", known.neighbour, "--verify", "--no-logs")
    assert code == LEFT
    unread = places(told)["topic requests"]
    assert (unread["records"], unread["until"] is not None) == (None, True)
    for arguments in ((), ("--account", known.first, "--organisation", known.first), ("--account", "ana@example.org")):
        done = CliRunner().invoke(cli.app, ["forget", *arguments])
        assert done.exit_code == 2, done.output
        assert "ana@example.org" not in done.output
    shown = CliRunner().invoke(cli.app, ["forget", "--account", known.neighbour, "--dry-run"])
    assert shown.exit_code == 0
    assert "Nothing was erased." in shown.stdout
