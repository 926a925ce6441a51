"""Sign-in at a real OpenID Connect provider that runs here: code flow with PKCE, and what must be refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.adapters.clock import SystemClock
from services.adapters.postgres.identity_tables import PendingSignInRow, UserRow
from services.api.app import create_app
from services.api.context import ApiContext
from services.identity import people
from services.identity.oidc import Provider, ProviderError
from services.telemetry.metrics import Metrics
from tests.integration.database.samples import NOW
from tests.integration.database.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
LONG = "a long enough one"
ANA = {"sub": "ana-at-provider", "preferred_username": "ana", "groups": ["soc", "others"]}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider in a process of its own, which holds PKCE's verifier against its challenge."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.integration.database.strict_provider", str(port), json.dumps(ANA)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{url}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def provider_at(issuer: str, **changes: object) -> Provider:
    values = {
        "issuer": issuer,
        "client_id": "stillwatch",
        "client_secret": "secret",
        "roles_claim": "groups",
        "roles": {"soc": ["analyst", "lead"]},
    }
    return Provider(**(values | changes))  # type: ignore[arg-type]  # a table of two types


@pytest.fixture
def browser(engine: Engine, issuer: str) -> Iterator[httpx.Client]:
    context = ApiContext(
        engine=engine,
        metrics=Metrics(),
        clock=SystemClock(),  # The provider's tokens tell the real time.
        tenant="acme",
        checks={},
        secret=b"k",
        provider=provider_at(issuer),
    )
    with serving(create_app(context, "0.0.0")) as url, httpx.Client(base_url=url, timeout=60) as opened:
        yield opened


def at_provider(browser: httpx.Client) -> tuple[httpx.Response, str]:
    """Begin here, sign in there; gives our first answer and the address that the provider sends the browser to."""
    begun = browser.get("/signin/oidc", params={"next": "/v1/me"})
    assert begun.status_code == 303
    asked = begun.headers["location"]
    answered = httpx.post(asked, data={"sub": ANA["sub"]}, timeout=60)
    assert answered.status_code in {302, 303}, answered.text
    return begun, answered.headers["location"]


def test_a_person_signs_in_at_the_provider(browser: httpx.Client, engine: Engine) -> None:
    begun, back = at_provider(browser)
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert "HttpOnly" in begun.headers["set-cookie"]
    answer = browser.get(back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/v1/me")
    me = browser.get("/v1/me").json()
    assert (me["actor"], me["roles"]) == ("ana", ["analyst", "lead"])
    assert browser.get(back).status_code == 400  # The same answer again is worth nothing.
    with Session(engine) as session:
        user = session.scalars(select(UserRow)).one()
    assert (user.provider_subject, user.password) == (ANA["sub"], None)


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(browser: httpx.Client) -> None:
    _, back = at_provider(browser)
    assert httpx.get(back, timeout=60).status_code == 400  # Another browser: it has no cookie of the state.
    state = re.search(r"state=([^&]+)", back)
    assert state
    assert browser.get(back.replace(state[1], "another")).status_code == 400


def test_a_local_user_of_the_same_name_stays_somebody_else(browser: httpx.Client, engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        people.add_user(session, "acme", "ana", roles=["admin"], password=LONG, by="x", now=NOW)
    browser.get(at_provider(browser)[1])
    me = browser.get("/v1/me").json()
    assert me["actor"].startswith("ana@")
    assert me["roles"] == ["analyst", "lead"]


def test_whom_an_admin_has_shut_out_the_provider_does_not_let_in(browser: httpx.Client, engine: Engine) -> None:
    browser.get(at_provider(browser)[1])
    with Session(engine) as session, session.begin():
        people.set_roles(session, "acme", "ana", ["admin"], by="x", now=NOW)
        people.add_user(session, "acme", "ada", roles=["admin"], password=LONG, by="x", now=NOW)
        people.set_disabled(session, "acme", "ana", disabled=True, by="ada", now=NOW)
    assert browser.get("/v1/me").status_code == 401
    assert browser.get(at_provider(browser)[1]).status_code == 403


def test_the_verifier_is_the_one_that_the_challenge_tells(issuer: str) -> None:
    begun = provider_at(issuer).begin("http://127.0.0.1:1/signin/oidc/callback")
    (told,) = parse_qs(urlsplit(begun.url).query)["code_challenge"]
    digest = hashlib.sha256(begun.verifier.encode()).digest()
    assert told == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert begun.verifier not in begun.url


def test_a_code_without_its_own_verifier_signs_nobody_in(browser: httpx.Client, engine: Engine) -> None:
    """A stolen code: whoever brings it began another sign-in, so their verifier is another."""
    _, back = at_provider(browser)
    with Session(engine) as session, session.begin():
        session.execute(update(PendingSignInRow).values(verifier="v" * 64))
    answer = browser.get(back)
    assert answer.status_code == 502
    assert "the provider&#39;s answer is refused (OAuthError)" in answer.text
    assert browser.get("/v1/me").status_code == 401
    with Session(engine) as session:
        assert session.scalars(select(UserRow)).all() == []
    # Nothing else was wrong: the next sign-in of the same browser succeeds.
    assert browser.get(at_provider(browser)[1]).status_code == 303


def test_a_token_for_another_or_with_another_nonce_is_refused(browser: httpx.Client, issuer: str) -> None:
    provider = provider_at(issuer)
    redirect = "http://127.0.0.1:1/signin/oidc/callback"

    def code() -> tuple[str, str, str]:
        begun = provider.begin(redirect)
        location = httpx.post(begun.url, data={"sub": ANA["sub"]}, timeout=60).headers["location"]
        return parse_qs(urlsplit(location).query)["code"][0], begun.verifier, begun.nonce

    now = SystemClock().now_ms() // 1000
    token, verifier, nonce = code()
    assert provider.finish(redirect, code=token, verifier=verifier, nonce=nonce, now=now).subject == ANA["sub"]
    token, verifier, nonce = code()
    with pytest.raises(ProviderError):
        provider.finish(redirect, code=token, verifier=verifier, nonce="another", now=now)
    token, verifier, nonce = code()
    with pytest.raises(ProviderError):
        provider.finish(redirect, code=token, verifier=verifier, nonce=nonce, now=now + 86_400 * 30)
    with pytest.raises(ProviderError):
        provider_at(f"{issuer}/elsewhere").begin(redirect)
