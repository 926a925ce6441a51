"""People, sessions, keys and the limiter on a real database; sign-in by form as a browser does it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.adapters.postgres import audit
from services.adapters.postgres.identity_tables import ApiKeyRow, SessionRow, UserRow
from services.adapters.postgres.tables import AuditRow
from services.api.app import create_app
from services.api.context import DEFAULT_LIMITS, ApiContext
from services.api.guard import COOKIE
from services.api.signing_in import safe_target
from services.identity import keys, limits, people, sessions
from services.identity.passwords import WeakPasswordError, verify_password
from services.identity.roles import ROLES
from services.telemetry.metrics import Metrics
from tests.integration.database.consoles import console_app
from tests.integration.database.samples import NOW
from tests.integration.database.serving import FixedClock, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test's own user


@pytest.fixture
def ana(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        people.add_user(session, "acme", "ana", roles=["analyst"], password=PASSWORD, by="ada", now=NOW)


@pytest.fixture
def browser(engine: Engine, ana: None) -> Iterator[httpx.Client]:
    context = ApiContext(engine=engine, metrics=Metrics(), clock=FixedClock(), tenant="acme", checks={}, secret=b"k")
    with serving(console_app(context)) as url, httpx.Client(base_url=url) as opened:
        yield opened


def sign_in(engine: Engine, name: str, password: str, address: str = "192.0.2.7") -> sessions.SignedIn:
    return sessions.sign_in(engine, "acme", name, password, address=address, secret=b"k", now=NOW)


def test_a_browser_signs_in_and_out(browser: httpx.Client) -> None:
    assert 'action="/signin"' in browser.get("/signin", params={"next": "/?state=open"}).text
    wrong = browser.post("/signin", data={"name": "ana", "password": "guess"})
    assert wrong.status_code == 401
    assert "guess" not in wrong.text
    right = browser.post("/signin", data={"name": "ana", "password": PASSWORD, "next": "/?state=open"})
    assert (right.status_code, right.headers["location"]) == (303, "/?state=open")
    cookie = right.headers["set-cookie"]
    assert all(part in cookie for part in (f"{COOKIE}=", "HttpOnly", "SameSite=lax", "Path=/"))
    assert "Secure" not in cookie  # The test speaks plain HTTP on loopback.
    me = browser.get("/v1/me").json()
    assert (me["actor"], me["roles"], me["tenant"]) == ("ana", ["analyst"], "acme")
    page = browser.get("/").text
    csrf = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    assert browser.post("/signout", data={"csrf_token": csrf}).headers["location"] == "/signin"
    assert browser.get("/v1/me").status_code == 401


def test_over_tls_the_cookie_is_bound_to_the_host(engine: Engine, ana: None) -> None:
    context = ApiContext(
        engine=engine,
        metrics=Metrics(),
        clock=FixedClock(),
        tenant="acme",
        checks={},
        secret=b"k",
        public_url="https://watch.example",
    )
    with serving(create_app(context, "0.0.0")) as url:
        cookie = httpx.post(f"{url}/signin", data={"name": "ana", "password": PASSWORD}).headers["set-cookie"]
    assert cookie.startswith("__Host-stillwatch_session=")
    assert "Secure" in cookie


def test_a_page_elsewhere_cannot_sign_somebody_in(browser: httpx.Client) -> None:
    data = {"name": "ana", "password": PASSWORD}
    assert browser.post("/signin", data=data, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb", ""])
def test_signing_in_leads_nowhere_else(target: str) -> None:
    assert safe_target(target) == "/"
    assert safe_target("/alerts/1?x=2") == "/alerts/1?x=2"


def test_a_session_ends_by_idleness_by_age_and_by_an_admin(engine: Engine, ana: None) -> None:
    token = sign_in(engine, "ana", PASSWORD).token

    def lives(after: timedelta) -> bool:
        with Session(engine) as session, session.begin():
            return sessions.find_session(session, token, DEFAULT_LIMITS, NOW + after) is not None

    assert lives(timedelta(minutes=59))
    assert lives(timedelta(minutes=118))  # An hour after the last request, not after the first.
    assert not lives(timedelta(minutes=179))
    for hours in range(1, 24):
        # Whoever goes on asking is asked to sign in again after the absolute limit all the same.
        if not lives(timedelta(hours=2 + hours * 0.9)):
            assert hours * 0.9 + 2 >= 12
            break
    else:
        pytest.fail("it never ended")
    with Session(engine) as session, session.begin():
        assert sessions.purge_sessions(session, DEFAULT_LIMITS, NOW + timedelta(days=1)) == 1
    token = sign_in(engine, "ana", PASSWORD).token
    with Session(engine) as session, session.begin():
        people.add_user(session, "acme", "ada", roles=["admin"], password=PASSWORD, by="x", now=NOW)
        people.set_disabled(session, "acme", "ana", disabled=True, by="ada", now=NOW)
    assert not lives(timedelta())
    with pytest.raises(sessions.SignInError):
        sign_in(engine, "ana", PASSWORD)


def test_failures_lock_a_name_and_an_address_for_a_while(
    engine: Engine, ana: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "verify_password", lambda password, kept: kept is not None and password == PASSWORD)
    for _ in range(limits.NAME_FAILURES):
        with pytest.raises(sessions.SignInError):
            sign_in(engine, "ana", "guess", "192.0.2.1")
    with pytest.raises(limits.TooManyFailuresError):
        sign_in(engine, "ana", PASSWORD, "192.0.2.2")
    later = NOW + limits.WINDOW + timedelta(seconds=1)
    sessions.sign_in(engine, "acme", "ana", PASSWORD, address="192.0.2.2", secret=b"k", now=later)
    for number in range(limits.ADDRESS_FAILURES):
        with pytest.raises(sessions.SignInError):
            sign_in(engine, f"user{number}", "guess", "192.0.2.3")
    with pytest.raises(limits.TooManyFailuresError):
        sign_in(engine, "somebody", "guess", "192.0.2.3")
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT * FROM sign_in_failures")).all()
    assert "192.0.2" not in str(kept)
    assert "ana" not in str(kept)


def test_the_first_admin_comes_once(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        password = people.ensure_first_admin(session, "acme", NOW)
        assert people.ensure_first_admin(session, "acme", NOW) is None
    assert password is not None
    assert sign_in(engine, "admin", password).principal.roles == set(ROLES)
    with Session(engine) as session:
        kept = session.scalars(select(UserRow.password)).one()
        assert kept is not None
        assert kept.startswith("$argon2id$")
        assert verify_password(password, kept)
        assert not verify_password(password, None)
        said = session.scalars(select(AuditRow)).all()
    assert password not in str([(row.before, row.after) for row in said])


def test_the_last_admin_stays(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        people.ensure_first_admin(session, "acme", NOW)
        with pytest.raises(people.LastAdminError):
            people.set_roles(session, "acme", "admin", ["lead"], by="admin", now=NOW)
    with Session(engine) as session, session.begin():
        with pytest.raises(people.LastAdminError):
            people.set_disabled(session, "acme", "admin", disabled=True, by="admin", now=NOW)
        session.rollback()


def test_bad_users_are_refused(engine: Engine, ana: None) -> None:
    with Session(engine) as session, session.begin():
        add = {"password": PASSWORD, "by": "ada", "now": NOW}
        with pytest.raises(people.NameTakenError):
            people.add_user(session, "acme", "ana", roles=[], **add)
        with pytest.raises(people.BadUserError):
            people.add_user(session, "acme", "a b", roles=[], **add)
        with pytest.raises(people.BadUserError):
            people.add_user(session, "acme", "tom", roles=["root"], **add)
        with pytest.raises(WeakPasswordError):
            people.add_user(session, "acme", "tom", roles=[], **(add | {"password": "short"}))
        people.add_user(session, "other", "ana", roles=[], **add)  # Another tenant's ana is somebody else.


def test_a_key_is_shown_once_and_ends(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        row, key = keys.issue_key(
            session,
            "acme",
            "siem",
            scopes=["alerts.read"],
            allowed=["alerts.read"],
            expires_at=NOW + timedelta(days=9),
            by="ada",
            now=NOW,
        )
        with pytest.raises(keys.BadKeyError):  # Nobody gives away what they may not do.
            keys.issue_key(
                session,
                "acme",
                "siem",
                scopes=["audit.read"],
                allowed=["alerts.read"],
                expires_at=NOW + timedelta(days=9),
                by="ada",
                now=NOW,
            )
        found = keys.find_key(session, key, NOW)
        assert found is not None
        assert (found.tenant, found.actor, found.permissions) == ("acme", f"key:{row.key_id}", {"alerts.read"})
        assert keys.find_key(session, key, NOW + timedelta(days=9)) is None
        keys.revoke_key(session, "acme", row.key_id, by="ada", now=NOW)
        assert keys.find_key(session, key, NOW) is None
        with pytest.raises(keys.UnknownKeyError):
            keys.revoke_key(session, "other", row.key_id, by="eve", now=NOW)
    with engine.connect() as connection:
        assert key not in str(connection.execute(select(ApiKeyRow.__table__)).all())


def test_nothing_of_a_session_can_be_used_from_the_database(engine: Engine, ana: None) -> None:
    token = sign_in(engine, "ana", PASSWORD).token
    with engine.connect() as connection:
        kept = str(connection.execute(select(SessionRow.__table__)).all())
    assert token not in kept


def test_the_audit_is_a_chain_that_shows_every_break(engine: Engine, ana: None) -> None:
    with Session(engine) as session, session.begin():
        for number in range(3):
            people.add_user(session, "acme", f"u{number}", roles=[], password=PASSWORD, by="ada", now=NOW)
        people.add_user(session, "other", "eve", roles=[], password=PASSWORD, by="x", now=NOW)
        found = audit.verify(session, "acme")
        assert (found.whole, found.rows) == (True, 4)
        assert audit.verify(session, "other").rows == 1
        assert audit.verify(session, "nobody").whole

    def after(statement: str) -> audit.Verified:
        """Break it with the rights of the owner and the triggers off, look, and take it back."""
        with engine.connect() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            connection.execute(text(statement))
            seen = audit.verify(Session(bind=connection), "acme")
            connection.rollback()
            connection.execute(text("RESET session_replication_role"))
            return seen

    changed = after("UPDATE audit SET after = '{\"roles\": []}' WHERE seq = 2 AND tenant = 'acme'")
    assert (changed.whole, changed.broken_at, changed.reason) == (False, 2, "the row was changed")
    gone = after("DELETE FROM audit WHERE seq = 3 AND tenant = 'acme'")
    assert (gone.broken_at, gone.reason) == (3, "a row is missing")
    cut = after("DELETE FROM audit WHERE seq = 4 AND tenant = 'acme'")
    assert (cut.broken_at, cut.reason) == (4, "the last rows are missing")
    with engine.connect() as connection, pytest.raises(Exception, match="continue the audit chain"):
        connection.execute(
            text(
                "INSERT INTO audit (tenant, at, actor, action, subject, seq, previous_hash, hash)"
                " VALUES ('acme', :at, 'eve', 'x', 'y', 3, sha256('a'), sha256('b'))"
            ),
            {"at": NOW},
        )
