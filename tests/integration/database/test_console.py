"""The console's pages on a real database, without a browser: what they say, what they refuse, what they never hold."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy.orm import Session

from services.adapters.postgres.alert_store import save_progress
from services.api.context import ApiContext
from services.api.middleware import CONTENT_SECURITY_POLICY
from services.console import vendor
from services.telemetry.health import CheckResult
from services.telemetry.metrics import Metrics
from tests.integration.database.consoles import console_app
from tests.integration.database.people import client_of, session_of
from tests.integration.database.samples import NOW, account_id, make_alert, store
from tests.integration.database.serving import FixedClock, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
ALERT = make_alert(1).alert_id
PAGES = (
    "/",
    "/queue",
    "/queue?state=all&severity=high&sort=oldest",
    f"/alerts/{ALERT}",
    f"/accounts/{account_id(101)}",
    "/search",
    "/export",
    "/quality",
    "/models",
    "/entitlements",
    "/shadow",
    "/audit",
    "/people",
)


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    checks = {"database": lambda: CheckResult(ready=True, detail="answers")}
    context = ApiContext(
        engine=engine, metrics=Metrics(), clock=FixedClock(), tenant="acme", checks=checks, secret=b"k"
    )
    store(engine, "acme", [make_alert(number, members=2 + number) for number in range(1, 6)])
    store(engine, "other", [make_alert(9)])
    with serving(console_app(context)) as served:
        yield served


@pytest.fixture
def ana(url: str, engine: Engine) -> Iterator[httpx.Client]:
    with client_of(url, session_of(engine, "acme", "ana", "analyst", "lead", "engineer", "admin")) as client:
        yield client


@pytest.fixture
def tom(url: str, engine: Engine) -> Iterator[httpx.Client]:
    with client_of(url, session_of(engine, "acme", "tom", "lead", "publisher")) as client:
        yield client


def version_of(client: httpx.Client, alert_id: str = ALERT) -> str:
    found = re.search(r'name="version" value="(\d+)"', client.get(f"/alerts/{alert_id}").text)
    assert found
    return found[1]


def judge(client: httpx.Client, version: str, reason: str = "one wording", alert_id: str = ALERT) -> str:
    form = {"act": "judge", "verdict": "true_positive", "reason": reason, "version": version}
    answer = client.post(f"/alerts/{alert_id}/act", data=form)
    assert answer.status_code == 303
    return str(answer.headers["location"])


@pytest.mark.parametrize("path", PAGES)
def test_pages_obey_a_strict_policy_and_hold_nothing_inline(ana: httpx.Client, path: str) -> None:
    answer = ana.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert not re.search(r"<script(?![^>]+src=)|<style|\sstyle=|\son\w+=|https?://", answer.text)
    assert "No text of any request or answer exists" in answer.text
    assert make_alert(9).alert_id not in answer.text


def test_facets_count_what_each_value_would_leave(ana: httpx.Client) -> None:
    page = ana.get("/queue").text
    assert len(re.findall(r'data-row="a', page)) == 5
    assert re.search(r"<b>5</b>\s+alerts", page)
    none = ana.get("/queue?severity=low").text
    assert "Nothing with these filters" in none
    # The other value can still be chosen, with its count.
    assert re.search(r"severity=low&amp;severity=high|severity=high", none)
    part = ana.get("/queue", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="queue"' in part


def test_counts_follow_every_act_and_every_stored_alert_at_once(ana: httpx.Client, engine: Engine) -> None:
    """They are kept for everybody; the clock of this test stands, so nothing but a change can renew them."""

    def counted() -> str:
        found = re.search(r"<b>(\d+)</b>\s+alerts", ana.get("/queue").text)
        assert found
        return found[1]

    assert (counted(), counted()) == ("5", "5")
    judge(ana, version_of(ana))
    assert counted() == "4"
    store(engine, "acme", [make_alert(6)])
    assert counted() == "4", "nothing was told of it, so this is the kept count"
    with Session(engine) as session, session.begin():
        save_progress(session.connection(), "acme", "alerts", {0: 6}, NOW)
    assert counted() == "5"


def test_a_lost_race_is_told_and_writes_nothing(ana: httpx.Client, tom: httpx.Client) -> None:
    read = version_of(tom)
    assert "done=judge" in judge(ana, version_of(ana), "ana was first")
    assert "refused=LostRaceError" in judge(tom, read, "tom was first")
    page = tom.get(f"/alerts/{ALERT}?refused=LostRaceError").text
    assert "Somebody else changed this alert" in page
    assert "ana was first" in page
    assert "tom was first" not in page


def test_an_act_is_undone_and_stays_on_record(ana: httpx.Client) -> None:
    act = re.search(r"act_id=(\w+)", judge(ana, version_of(ana), "<b>too quick</b>"))
    assert act
    answer = ana.post(f"/acts/{act[1]}/undo", data={"back": "//elsewhere.example"})
    assert answer.headers["location"] == f"/alerts/{ALERT}?done=undone"
    page = ana.get(f"/alerts/{ALERT}").text
    assert 'class="withdrawn"' in page
    assert "&lt;b&gt;too quick&lt;/b&gt;" in page
    again = ana.post(f"/acts/{act[1]}/undo", data={"back": "//elsewhere.example"})
    assert again.headers["location"].startswith("/queue?refused=SupersededError")


def test_next_claims_for_one_person_only(url: str, engine: Engine, ana: httpx.Client, tom: httpx.Client) -> None:
    places = [client.post("/queue/next").headers["location"].split("?")[0] for client in (ana, tom)]
    assert places[0] != places[1]
    held = places[0].removeprefix("/alerts/")
    with client_of(url, session_of(engine, "acme", "eve", "analyst")) as eve:
        assert "ana works on this alert" in eve.get(places[0]).text
        assert "refused=HeldError" in judge(eve, version_of(eve, held), alert_id=held)


def test_an_entitlement_takes_two_people(ana: httpx.Client, tom: httpx.Client) -> None:
    form = {
        "subject_kind": "organization",
        "subject": account_id(9001),
        "kind": "licence",
        "reference": "contract 9",
        "last": "2027-01-01",
        "models": "m-1, m-2",
        "daily_requests": "200000",
    }
    assert "done=proposed" in ana.post("/entitlements", data=form).headers["location"]
    found = re.search(r"/entitlements/proposals/(\w+)/", ana.get("/entitlements").text)
    assert found
    place = f"/entitlements/proposals/{found[1]}/approve"
    assert "refused=SamePersonError" in ana.post(place).headers["location"]
    assert "done=approved" in tom.post(place).headers["location"]
    assert "refused=UnknownProposalError" in tom.post(place).headers["location"]
    assert "contract 9" in ana.get(f"/alerts/{ALERT}").text
    granted = ana.get("/entitlements").text
    assert "m-1, m-2" in granted
    assert "200k requests a day" in granted
    assert "refused=form" in ana.post("/entitlements", data=form | {"subject": "x"}).headers["location"]


def test_a_raw_key_is_keyed_and_stands_in_no_address(ana: httpx.Client) -> None:
    answer = ana.post("/search", data={"raw": "sk-live-canary", "field": "account"})
    assert re.fullmatch(r"/accounts/[0-9a-f]{16}", answer.headers["location"])
    typed = ana.get("/search", params={"q": "sk-live-canary"}).text
    assert "canary" not in typed
    assert ana.get("/search", params={"q": ALERT}).headers["location"] == f"/alerts/{ALERT}"


def test_a_file_holds_the_view_and_no_formula(ana: httpx.Client, engine: Engine) -> None:
    store(engine, "acme", [make_alert(7, title="=HYPERLINK(1)")])
    answer = ana.get("/export/alerts.csv", params={"state": "all"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert (len(rows), answer.headers["x-total-rows"]) == (6, "6")
    assert {row["title"][:2] for row in rows if row["alert_id"] == make_alert(7).alert_id} == {"'="}
    judge(ana, version_of(ana))
    findings = [json.loads(line) for line in ana.get("/export/alerts.ocsf?state=all").text.splitlines()]
    assert [finding["verdict_id"] for finding in findings if "verdict_id" in finding] == [2]
    assert len(ana.get(f"/export/members/{ALERT}").text.splitlines()) == 4


def test_the_first_beat_comes_at_once(ana: httpx.Client) -> None:
    with ana.stream("GET", "/console/events") as stream:
        told = ""
        for part in stream.iter_text():
            told += part
            if "data:" in told:
                break
    beat = json.loads(told.split("data: ")[1])
    assert (beat["open"], beat["raised"], beat["healthy"]) == (5, 5, True)


def test_a_static_file_is_kept_only_under_its_hash(url: str) -> None:
    with httpx.Client(base_url=url) as stranger:
        page = stranger.get("/signin").text
        plain = stranger.get("/console/static/console.css")
        assert "/console/static/console.css" in page
        assert plain.headers["cache-control"] == "no-store"
        hashed = re.search(r"/console/static/console\.css\?v=\w+", stranger.get("/signin").text)
        assert hashed is None
        assert stranger.get("/console/static/console.css?v=guess").headers["cache-control"] == "no-store"
        assert stranger.get("/console/static/../rules.py").status_code == 404


def test_vendored_files_are_those_that_were_fetched() -> None:
    assert vendor.problems(vendor.STATIC) == []
    assert vendor.problems(vendor.AXE) == []
