"""The API and its pages on a real database."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.adapters.postgres.engine import create_engine
from services.api.app import create_app
from services.api.context import ApiContext
from services.api.health import make_checks
from services.api.problems import STATUS, Problem
from services.identity.roles import ROLES
from services.telemetry.health import CheckResult
from services.telemetry.metrics import Metrics
from tests.integration.database.people import client_of, headers_of, session_of
from tests.integration.database.samples import NOW, account_id, make_alert, store
from tests.integration.database.serving import FixedClock, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI
    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
NOTHING_TO_GET_WRONG = {
    *("/livez", "/readyz", "/v1/me", "/v1/users", "/v1/audit/verification"),
    *("/v1/reviews", "/v1/disagreements", "/v1/quality", "/v1/models"),
}
LABEL = {"alert_id": make_alert(1).alert_id, "verdict": "benign", "reason": "a known partner"}
ENTITLEMENT = {
    "subject_kind": "organization",
    "subject": account_id(77),
    "kind": "licence",
    "valid_until": "2027-01-01T00:00:00Z",
    "reference": "contract 7",
}


@pytest.fixture
def app(engine: Engine) -> FastAPI:
    metrics = Metrics()
    checks = {"database": lambda: CheckResult(ready=True, detail="answers")}
    context = ApiContext(engine=engine, metrics=metrics, clock=FixedClock(), tenant="acme", checks=checks, secret=b"k")
    return create_app(context, "0.0.0")


@pytest.fixture
def client(app: FastAPI, engine: Engine) -> Iterator[httpx.Client]:
    token = session_of(engine, "acme", "lea", "lead")
    with serving(app) as url, client_of(url, token) as opened:
        yield opened


@pytest.fixture
def alerts(engine: Engine) -> None:
    store(engine, "acme", [make_alert(number, members=2 + number) for number in range(1, 6)])
    store(engine, "other", [make_alert(9)])


def problem(response: Any, status: int) -> Problem:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    told = Problem.model_validate_json(response.content)
    assert told.status == status
    return told


def test_lists_page_by_cursor_and_filter(client: httpx.Client, alerts: None) -> None:
    first = client.get("/v1/alerts", params={"limit": 3}).json()
    second = client.get("/v1/alerts", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    ids = [row["alert_id"] for row in first["items"] + second["items"]]
    assert ids == [make_alert(number).alert_id for number in (5, 4, 3, 2, 1)]
    assert second["next_cursor"] is None
    named = client.get("/v1/alerts", params={"account": account_id(302)}).json()
    assert [row["alert_id"] for row in named["items"]] == [make_alert(3).alert_id]
    problem(client.get("/v1/alerts", params={"colour": "red"}), 422)
    problem(client.get("/v1/alerts", params={"since": "1700000000"}), 422)
    problem(client.get("/v1/alerts", params={"cursor": "bm8"}), 400)


def test_one_alert_tells_why_who_and_what_was_said(client: httpx.Client, alerts: None) -> None:
    client.post("/v1/labels", json=LABEL).raise_for_status()
    response = client.get(f"/v1/alerts/{LABEL['alert_id']}")
    body = response.json()
    assert response.headers["etag"] == '"v2"'
    assert [row["feature"] for row in body["contributions"]] == ["count_dispersion", "template_share"]
    assert [len(body[name]) for name in ("members", "findings", "labels")] == [3, 1, 1]
    assert body["state"] == "labelled"
    assert "record" not in body
    members = client.get(f"/v1/campaigns/{LABEL['alert_id']}/members", params={"limit": 2}).json()
    assert [row["account"] for row in members["items"]] == [account_id(102), account_id(101)]
    account = client.get(f"/v1/accounts/{account_id(101)}").json()
    assert [len(account[name]) for name in ("alerts", "labels")] == [1, 1]
    assert client.get("/v1/campaigns").json()["items"][0]["subject_kind"] == "campaign"


def test_another_tenants_alert_is_not_there(client: httpx.Client, alerts: None) -> None:
    told = problem(client.get(f"/v1/alerts/{make_alert(9).alert_id}"), 404)
    assert told.title == "Not Found"
    problem(client.post("/v1/labels", json=LABEL | {"alert_id": make_alert(9).alert_id}), 404)


def test_a_lost_race_is_told_and_writes_nothing(client: httpx.Client, alerts: None) -> None:
    read = client.get(f"/v1/alerts/{LABEL['alert_id']}").headers["etag"]
    first = client.post("/v1/labels", json=LABEL, headers={"If-Match": read})
    assert (first.status_code, first.headers["etag"]) == (201, '"v2"')
    problem(client.post("/v1/labels", json=LABEL, headers={"If-Match": read}), 412)
    problem(client.post("/v1/labels", json=LABEL, headers={"If-Match": '"of-another-thing"'}), 412)
    assert client.post("/v1/labels", json=LABEL, headers={"If-Match": "*"}).status_code == 201
    assert len(client.get("/v1/labels").json()["items"]) == 2
    assert client.get(first.headers["location"]).json() == first.json()


def test_an_idempotency_key_labels_once(client: httpx.Client, alerts: None) -> None:
    headers = {"Idempotency-Key": "8f2c", "If-Match": '"v1"'}
    first = client.post("/v1/labels", json=LABEL, headers=headers)
    again = client.post("/v1/labels", json=LABEL, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    problem(client.post("/v1/labels", json=LABEL | {"reason": "another"}, headers=headers), 422)
    assert len(client.get("/v1/labels").json()["items"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "guilty"},
        {"reason": ""},
        {"reason": "  "},
        {"reason": "a\0b"},
        {"reason": "x" * 2001},
        {"actor": "ana"},
        {"alert_id": "../etc"},
        {"colour": "red"},
    ],
)
def test_a_label_that_is_none_is_refused_without_its_words(
    client: httpx.Client, alerts: None, wrong: dict[str, str]
) -> None:
    told = problem(client.post("/v1/labels", json=LABEL | wrong), 422)
    assert told.errors
    assert told.errors[0].pointer == "/body/" + next(iter(wrong))
    assert client.get("/v1/labels").json()["items"] == []


@pytest.fixture
def second(client: httpx.Client, engine: Engine) -> Iterator[httpx.Client]:
    """Another lead, on the same server."""
    with client_of(str(client.base_url), session_of(engine, "acme", "tom", "lead")) as opened:
        yield opened


def proposed(client: httpx.Client, **changes: Any) -> str:
    """Ask for an entitlement; gives the address that its decisions begin with."""
    answer = client.post("/v1/entitlement-proposals", json=ENTITLEMENT | changes)
    assert answer.status_code == 201
    return f"/v1/entitlement-proposals/{answer.json()['proposal_id']}"


def test_an_entitlement_takes_two_people(client: httpx.Client, second: httpx.Client) -> None:
    terms = {"owner": "partners", "models": ["m-1"], "daily_requests": 5, "total_tokens": 9, "grace_seconds": 60}
    asked = proposed(client, **terms)
    problem(client.post(f"{asked}/approve"), 403)
    # Nobody grants alone by another road either.
    assert client.post("/v1/entitlements", json=ENTITLEMENT).status_code == 405
    assert client.get("/v1/entitlements").json()["items"] == []
    (waiting,) = second.get("/v1/entitlement-proposals").json()["items"]
    assert (waiting["proposed_by"], waiting["decision"]) == ("lea", None)
    granted = second.post(f"{asked}/approve")
    assert granted.status_code == 201
    held = {"created_by": "tom", "grace_ms": 60_000} | {key: terms[key] for key in terms if key != "grace_seconds"}
    assert held.items() <= granted.json().items()
    problem(second.post(f"{asked}/approve"), 404)
    assert second.get("/v1/entitlement-proposals").json()["items"] == []


def test_a_proposal_is_turned_down_or_taken_back(client: httpx.Client, second: httpx.Client) -> None:
    for judge in (second, client):
        asked = proposed(client)
        assert judge.post(f"{asked}/reject").json()["decision"] == "rejected"
        problem(second.post(f"{asked}/approve"), 404)
    assert client.get("/v1/entitlements").json()["items"] == []
    problem(client.post("/v1/entitlement-proposals/nothing/reject"), 404)
    ended = ENTITLEMENT | {"valid_until": "2020-01-01T00:00:00Z"}
    problem(client.post("/v1/entitlement-proposals", json=ended), 422)


def test_entitlements_are_granted_once_listed_and_taken_back(client: httpx.Client, second: httpx.Client) -> None:
    first, again = proposed(client), proposed(client)
    granted = second.post(f"{first}/approve")
    problem(second.post(f"{again}/approve"), 409)
    assert len(client.get("/v1/entitlements", params={"in_force": True}).json()["items"]) == 1
    path = f"/v1/entitlements/{granted.json()['entitlement_id']}/revoke"
    revoked = client.post(path)
    assert revoked.json()["revoked_by"] == "lea"
    assert client.post(path).json() == revoked.json()
    assert client.get("/v1/entitlements", params={"in_force": True}).json()["items"] == []
    problem(client.post("/v1/entitlements/nobody/revoke"), 404)
    assert second.post(f"{again}/approve").status_code == 201


def test_a_database_that_is_away_is_503_and_soon_tried_again() -> None:
    away = create_engine("postgresql://nobody@127.0.0.1:9/nothing", process="test", connect_timeout_s=1)
    context = ApiContext(
        engine=away, metrics=Metrics(), clock=FixedClock(), tenant="acme", checks={}, secret=b"k", allowed_hosts=None
    )
    with serving(create_app(context, "0.0.0")) as url:
        response = httpx.get(f"{url}/v1/alerts", headers={"Authorization": "Bearer sw_x"})
    problem(response, 503)
    assert response.headers["retry-after"] == "2"


def test_errors_of_the_router_are_problems_too(client: httpx.Client) -> None:
    problem(client.get("/v1/nothing"), 404)
    assert problem(client.delete("/v1/alerts"), 405).title == "Method Not Allowed"


def test_a_foreign_host_is_refused(client: httpx.Client) -> None:
    problem(client.get("/v1/alerts", headers={"Host": "rebound.example"}), 421)
    assert client.get("/livez", headers={"Host": "localhost:8080"}).text == "live\n"
    assert client.get("/livez", headers={"Host": "[::1]:8080"}).status_code == 200


def test_ready_names_each_part(engine: Engine, bootstrap_servers: str) -> None:
    from services.adapters.kafka.presence import BrokerPresence
    from services.adapters.postgres.alert_store import beat

    brokers = BrokerPresence({"bootstrap.servers": bootstrap_servers})
    moment = [NOW]
    checks = make_checks(engine, brokers.check, "acme", lambda: moment[0])
    assert not checks["kafka"]().ready
    brokers.ask()
    assert [checks[name]().ready for name in ("database", "kafka", "alert_sink")] == [True, True, False]
    with engine.begin() as connection:
        beat(connection, "acme", "alerts", [0], NOW)
    assert checks["alert_sink"]().ready
    moment[0] += timedelta(seconds=31)
    assert not checks["alert_sink"]().ready


def test_ready_is_503_where_a_part_is_missing(client: httpx.Client, app: FastAPI) -> None:
    assert client.get("/readyz").json() == {
        "ready": True,
        "checks": {"database": {"ready": True, "detail": "answers"}},
    }
    app.state.context.checks["kafka"] = lambda: CheckResult(ready=False, detail="0 brokers")
    assert client.get("/readyz").status_code == 503


def test_latency_is_counted_by_route_and_never_by_id(client: httpx.Client, app: FastAPI, alerts: None) -> None:
    client.get(f"/v1/alerts/{LABEL['alert_id']}")
    labels = {"route": "/v1/alerts/{alert_id}", "method": "GET", "status": "200"}
    registry = app.state.context.metrics.registry
    # It is counted when the answer has gone out, which may be after this test has read it.
    for _ in range(100):
        if registry.get_sample_value("stillwatch_http_request_seconds_count", labels) == 1:
            return
        time.sleep(0.05)
    pytest.fail("the request was not counted")


def test_every_error_that_the_database_room_can_raise_has_a_status() -> None:
    import pkgutil
    from importlib import import_module

    from services import dossiers, identity
    from services.adapters import postgres
    from services.errors import StillwatchError

    # What no request can meet: they speak to the command line or to a migration.
    elsewhere = {f"services.adapters.postgres.{room}" for room in ("forgetting", "migrate", "webhooks")}
    raised = {
        value
        for room in (postgres, identity, dossiers)
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
        if module.name not in elsewhere
        for value in vars(import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, StillwatchError) and value is not StillwatchError
    }
    assert raised == set(STATUS)


def test_the_document_is_openapi_3_1_and_names_problems(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {path for path in document["paths"] if not path.startswith("/v1/")} == {"/livez", "/readyz"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_its_contract(
    app: FastAPI, engine: Engine, alerts: None, mode: GenerationMode, record_property: Callable[[str, object], None]
) -> None:
    """Schemathesis makes requests from the document, good and bad; answers must be what the document says."""
    operations: set[str] = set()
    asked_by = headers_of(session_of(engine, "acme", "all", *ROLES))
    statuses: Counter[int] = Counter()
    with serving(app) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()  # type: ignore[union-attr]  # an Err would raise here, as it should
            operations.add(operation.label)
            if operation.path == "/v1/decisions/stream":
                continue  # It does not end while the test's clock stands.
            if mode is GenerationMode.NEGATIVE and operation.path in NOTHING_TO_GET_WRONG and operation.method == "get":
                continue  # They take nothing that could be wrong.

            @settings(
                max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def exercise(case: Any) -> None:
                # A well-formed request may be refused for what it means: a period that has ended is 422.
                response = case.call_and_validate(excluded_checks=[positive_data_acceptance], headers=asked_by)
                statuses[response.status_code] += 1

            exercise()
    record_property("trials", sum(statuses.values()))
    assert len(operations) == 54
    assert statuses[200 if mode is GenerationMode.POSITIVE else 422] > 20
