"""Every route x every role x another tenant, from the table of rules: what has no rule answers nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy.orm import Session

from services.api.app import UnruledRouteError, create_app
from services.api.context import ApiContext
from services.api.guard import COOKIE, routes_of
from services.api.rules import RULES
from services.console.rules import RULES as PAGES
from services.identity import keys
from services.identity.roles import GRANTS, PERMISSIONS, ROLES
from services.telemetry.metrics import Metrics
from tests.integration.database.consoles import console_app
from tests.integration.database.people import client_of, headers_of, session_of
from tests.integration.database.samples import NOW, make_alert, store
from tests.integration.database.serving import FixedClock, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
ALL_RULES = {**RULES, **PAGES}
# Signing out ends the session that asks on; the streams have no end.
ENDLESS = {"POST /signout", "GET /console/events", "GET /v1/decisions/stream"}
GUARDED = sorted(key for key, rule in ALL_RULES.items() if not rule.public and key not in ENDLESS)
ALERT = make_alert(1)
REFUSED = {401, 403}


@pytest.fixture
def context(engine: Engine) -> ApiContext:
    return ApiContext(engine=engine, metrics=Metrics(), clock=FixedClock(), tenant="acme", checks={}, secret=b"k")


@pytest.fixture
def url(context: ApiContext, engine: Engine) -> Iterator[str]:
    store(engine, "acme", [ALERT])
    with serving(console_app(context)) as served:
        yield served


def reached() -> str:
    return "reached"


def path_of(key: str) -> tuple[str, str]:
    method, path = key.split(" ", 1)
    for name, value in {"alert_id": ALERT.alert_id, "account": ALERT.members[0].account}.items():
        path = path.replace(f"{{{name}}}", value)
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + "nothing" + rest.partition("}")[2]
    return method, path


def ask(client: httpx.Client, key: str) -> int:
    method, path = path_of(key)
    # An empty object is never a whole body: whoever is let through changes nothing.
    # Only the head is read: a stream of decisions does not end.
    with client.stream(method, path, json={} if method != "GET" else None) as answer:
        return answer.status_code


def test_a_route_without_a_rule_does_not_start(context: ApiContext) -> None:
    stray = APIRouter()
    stray.add_api_route("/v1/stray", reached, methods=["GET"])
    with pytest.raises(UnruledRouteError, match="GET /v1/stray"):
        create_app(context, "0", pages_routers=(stray,), pages_rules={})
    with pytest.raises(UnruledRouteError, match="GET /nowhere"):
        create_app(context, "0", pages_routers=(), pages_rules={"GET /nowhere": ALL_RULES["GET /"]})


def test_what_is_under_no_rule_never_reaches_the_router(context: ApiContext) -> None:
    app = console_app(context)
    app.add_api_route("/v1/later", reached, methods=["GET"])
    assert "GET /v1/later" in set(routes_of(app)) - set(ALL_RULES)
    with serving(app) as url:
        assert httpx.get(f"{url}/v1/later").status_code == 404


def test_strangers_are_told_to_sign_in(url: str) -> None:
    with httpx.Client(base_url=url) as stranger:
        assert {key: ask(stranger, key) for key in GUARDED} == dict.fromkeys(GUARDED, 401)
        page = stranger.get("/?state=open", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/signin?next=%2F%3Fstate%3Dopen")
        part = stranger.get("/", headers={"HX-Request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/signin")
        forged = {"Authorization": "Bearer sw_guess", "Cookie": f"{COOKIE}=guess"}
        assert stranger.get("/v1/alerts", headers=forged).status_code == 401


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_what_the_table_says(url: str, engine: Engine, role: str) -> None:
    allowed = GRANTS[role]  # type: ignore[index]  # the parameter comes from the table
    with client_of(url, session_of(engine, "acme", role, role)) as client:
        for key in GUARDED:
            permission = ALL_RULES[key].permission
            status = ask(client, key)
            if permission is None or permission in allowed:
                assert status not in REFUSED | {500}, key
            else:
                assert status == 403, key


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_key_may_what_its_scope_says_and_no_more(url: str, engine: Engine, permission: str) -> None:
    with Session(engine) as session, session.begin():
        if permission not in keys.FOR_MACHINES:
            with pytest.raises(keys.BadKeyError):
                _issue(session, permission)
            return
        key = _issue(session, permission)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as machine:
        for each in GUARDED:
            wanted = ALL_RULES[each].permission
            assert (ask(machine, each) == 403) == (wanted not in {None, permission}), each


def _issue(session: Session, permission: str) -> str:
    from datetime import timedelta

    until = NOW + timedelta(days=1)
    scope = {"scopes": [permission], "allowed": keys.FOR_MACHINES}
    return keys.issue_key(session, "acme", "soar", expires_at=until, by="ada", now=NOW, **scope)[1]


def test_roles_that_must_not_meet() -> None:
    assert "alerts.act" not in GRANTS["viewer"] | GRANTS["engineer"] | GRANTS["publisher"] | GRANTS["admin"]
    assert "users.manage" not in GRANTS["lead"]
    assert not GRANTS["engineer"] & {"detection.publish"}
    assert not GRANTS["publisher"] & {"detection.configure"}


def test_another_tenant_sees_and_changes_nothing(url: str, engine: Engine) -> None:
    label = {"alert_id": ALERT.alert_id, "verdict": "benign", "reason": "a partner"}
    with client_of(url, session_of(engine, "acme", "lea", *ROLES)) as owner:
        owner.post("/v1/labels", json=label).raise_for_status()
        before = owner.get(f"/v1/alerts/{ALERT.alert_id}").json()
    with client_of(url, session_of(engine, "other", "eve", *ROLES)) as stranger:
        for key in GUARDED:
            if key == "GET /v1/decisions/stream":
                continue  # It does not end.
            method, path = path_of(key)
            answer = stranger.request(method, path, json=label if key == "POST /v1/labels" else None)
            if answer.status_code == 200:
                assert ALERT.alert_id not in answer.text, key
                assert '"lea"' not in answer.text, key
            if "{alert_id}" in key:
                assert answer.status_code in {404, 422}, key
        assert stranger.get("/v1/labels").json()["items"] == []
        assert [row["name"] for row in stranger.get("/v1/users").json()["items"]] == ["eve"]
    with client_of(url, session_of(engine, "acme", "lea")) as owner:
        assert owner.get(f"/v1/alerts/{ALERT.alert_id}").json() == before


def test_a_browser_must_bring_the_pages_token(url: str, engine: Engine) -> None:
    token = session_of(engine, "acme", "ana", "analyst")
    cookie = {"Cookie": f"{COOKIE}={token}"}
    label = {"alert_id": ALERT.alert_id, "verdict": "benign", "reason": "a partner"}
    with httpx.Client(base_url=url) as client:
        assert client.post("/v1/labels", json=label, headers=cookie).status_code == 403
        other = headers_of(session_of(engine, "acme", "tom", "analyst"))["X-CSRF-Token"]
        assert client.post("/v1/labels", json=label, headers=cookie | {"X-CSRF-Token": other}).status_code == 403
        foreign = headers_of(token) | {"Origin": "https://evil.example"}
        assert client.post("/v1/labels", json=label, headers=foreign).status_code == 403
        own = headers_of(token) | {"Origin": url}
        assert client.post("/v1/labels", json=label, headers=own).status_code == 201
        form = {"csrf_token": headers_of(token)["X-CSRF-Token"]}
        assert client.post("/signout", data={"csrf_token": "x"}, headers=cookie).status_code == 403
        assert client.post("/signout", data=form, headers=cookie).status_code == 303
        assert client.get("/v1/me", headers=cookie).status_code == 401


def test_routes_of_sees_into_included_routers() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter(prefix="/a")
    router.add_api_route("/b", reached, methods=["PUT"])
    app.include_router(router)
    assert set(routes_of(app)) == {"PUT /a/b"}
