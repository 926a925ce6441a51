"""What analysts do, from the first sign-in to the audit, on the real stack. In order: later ones build on it."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.alerts import send_alerts

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

    from tests.browser.conftest import Stack, Watched

Person = "Callable[[str], Page]"


def wait_for_queue(page: Page, least: int) -> None:
    """Wait until the sink has stored what was sent."""
    for _ in range(120):
        page.goto("/queue")
        shown = page.locator(".list-head b").inner_text() if page.locator(".list-head b").count() else "0"
        if int(shown.replace(",", "")) >= least:
            return
        time.sleep(1)
    raise AssertionError(f"fewer than {least} alerts in the queue")


def flash(page: Page) -> str:
    return page.locator(".flash").first.inner_text()


def test_a_wrong_password_is_refused_and_the_right_one_opens_the_overview(
    open_context: Callable[..., BrowserContext], stack: Stack, watched: Watched
) -> None:
    watched.expected.add("status of 401")
    page = open_context().new_page()
    page.goto("/queue")
    expect(page).to_have_url(re.compile("/signin"))
    page.fill("#name", "admin")
    page.fill("#password", "not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.fill("#password", stack.passwords["admin"])
    page.keyboard.press("Enter")
    # On to where the browser wanted to go.
    expect(page).to_have_url(re.compile("/queue"))
    page.context.close()


def test_a_campaign_is_triaged_by_the_keyboard_alone(person: Callable[[str], Page]) -> None:
    page = person("ana")
    wait_for_queue(page, 60)
    page.goto("/queue?subject_kind=campaign")
    page.keyboard.press("j")
    second = page.locator("tbody.here").get_attribute("data-row")
    page.keyboard.press("k")
    first = page.locator("tbody.here").get_attribute("data-row")
    assert first != second
    page.keyboard.press("e")
    expect(page.locator("tbody.here .chips")).to_be_visible()
    page.keyboard.press("o")
    page.wait_for_url(f"**/alerts/{first}*")
    expect(page.get_by_text("What would clear it")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.type("same wording from every account")
    page.keyboard.press("Enter")
    expect(page.locator(".state").first).to_have_text("labelled")
    assert "verdict is recorded" in flash(page)
    expect(page.locator(".log li").first).to_contain_text("True positive: same wording from every account")


def test_a_verdict_is_undone_by_one_key(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.keyboard.press("z")
    expect(page.locator(".flash").first).to_contain_text("Undone")
    expect(page.locator(".state").first).not_to_have_text("labelled")
    # What was said stays on record, marked as taken back.
    expect(page.locator(".log li.withdrawn").first).to_contain_text("same wording from every account")


def test_next_claims_with_a_lease_and_a_reason_is_one_key(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/queue")
    page.keyboard.press("n")
    page.wait_for_url("**/alerts/**")
    expect(page.locator("#judge")).to_contain_text("lease")
    first = page.url.split("?")[0]
    page.keyboard.press("1")
    page.keyboard.type("same wording from every account")
    page.keyboard.press("Enter")
    # The verdict leads to the next alert, which is claimed too.
    page.wait_for_function("first => !location.href.startsWith(first)", arg=first)
    expect(page.locator("#judge")).to_contain_text("lease")
    page.keyboard.press("3")
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    expect(page.locator("#reason")).to_have_value("same wording from every account")


def test_comments_tags_and_assignments_stay(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/queue?sort=oldest")
    page.keyboard.press("o")
    page.wait_for_url("**/alerts/**")
    page.keyboard.press("c")
    page.keyboard.type("asked the account team")
    page.keyboard.press("Enter")
    expect(page.locator(".log")).to_contain_text("asked the account team")
    page.keyboard.press("t")
    page.keyboard.type("partner-lab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-act=tags] summary")).to_contain_text("partner-lab")
    page.keyboard.press("a")
    page.locator("#assignee").fill("tom")
    page.keyboard.press("Enter")
    expect(page.locator(".log")).to_contain_text("to tom")


def test_a_snooze_is_scoped_and_ends_by_itself(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/queue?subject_kind=account")
    page.keyboard.press("o")
    page.wait_for_url("**/alerts/**")
    page.keyboard.press("s")
    page.locator("#snooze-reason").fill("a migration until tomorrow")
    page.keyboard.press("Enter")
    expect(page.locator(".state").first).to_have_text("snoozed")
    expect(page.locator(".flash", has_text="Snoozed for this subject and detector until")).to_be_visible()
    alert = page.url.split("/alerts/")[1].split("?")[0]
    page.goto("/queue?state=snoozed")
    expect(page.locator(f"#row-{alert}")).to_be_visible()


def test_two_browsers_race_for_one_alert_and_the_loser_is_told(person: Callable[[str], Page]) -> None:
    ana, tom = person("ana"), person("tom")
    ana.goto("/queue?severity=low")
    alert = ana.locator("tbody[data-row]").last.get_attribute("data-row")
    for page in (ana, tom):
        page.goto(f"/alerts/{alert}")
        page.keyboard.press("2" if page is ana else "1")
        page.keyboard.type("ana was first" if page is ana else "tom was first")
    ana.keyboard.press("Enter")
    expect(ana.locator(".state").first).to_have_text("labelled")
    tom.keyboard.press("Enter")
    expect(tom.locator(".flash.bad").first).to_contain_text("Somebody else changed this alert")
    # Nothing was overwritten: both see ana's verdict, and only hers.
    for page in (ana, tom):
        page.goto(f"/alerts/{alert}")
        expect(page.locator(".log")).to_contain_text("ana was first")
        expect(page.locator(".log")).not_to_contain_text("tom was first")


def test_many_are_judged_at_once_after_a_preview_and_undone_as_one(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/queue?severity=medium")
    before = int(page.locator(".list-head b").inner_text())
    for key in ("x", "j", "x", "j", "x"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Act on selected (3)").click()
    expect(page.locator("h1")).to_have_text("Act on 3 alerts")
    page.wait_for_load_state()
    page.keyboard.press("3")
    page.keyboard.type("known load test")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("3 of 3 done")
    page.goto("/queue?severity=medium")
    assert int(page.locator(".list-head b").inner_text()) == before - 3
    page.go_back()
    page.keyboard.press("z")
    expect(page.locator("#report")).to_contain_text("undone")
    page.goto("/queue?severity=medium")
    assert int(page.locator(".list-head b").inner_text()) == before


def test_an_entitlement_takes_two_people_and_wins(person: Callable[[str], Page]) -> None:
    lea, tom = person("lea"), person("tom")
    lea.goto("/queue?subject_kind=account")
    lea.keyboard.press("o")
    lea.wait_for_url("**/alerts/**")
    alert = lea.url.split("?")[0]
    lea.get_by_text("Entitle", exact=True).click()
    lea.get_by_role("link", name="This account").click()
    lea.fill("#reference", "contract 2026-17")
    lea.fill("#last", f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}")  # noqa: TID251 - the stack has the real clock
    lea.get_by_role("button", name="Propose", exact=True).click()
    assert "Somebody else has to approve" in flash(lea)
    expect(lea.get_by_role("button", name="Approve")).to_have_count(0)
    tom.goto("/entitlements")
    tom.get_by_role("button", name="Approve").click()
    assert "in force" in flash(tom)
    tom.goto(alert)
    expect(tom.locator(".dock-main .flash").first).to_contain_text("contract 2026-17")
    expect(tom.locator(".dock-main .flash").first).to_contain_text("It wins over the detector")


def test_a_second_verdict_is_given_blind(person: Callable[[str], Page]) -> None:
    ana, tom = person("ana"), person("tom")
    ana.goto("/queue")
    ana.locator("[data-pick-all]").check()
    ana.get_by_role("button", name="or on all").click()
    expect(ana.locator("h1")).to_have_text(re.compile("^Act on"))
    ana.wait_for_load_state()
    ana.keyboard.press("1")
    ana.keyboard.type("one operator")
    ana.keyboard.press("Enter")
    expect(ana.locator("#report")).to_contain_text(re.compile("Undo all|Every one"))
    tom.goto("/quality")
    # One verdict in ten is drawn; of some fifty, none with a chance of one in two hundred.
    tom.keyboard.press("n")
    tom.wait_for_url("**/quality/review")
    shown = tom.locator("main").inner_text()
    assert "one operator" not in shown
    assert not re.search(r"\b(critical|high|medium|low)\b|threshold|score \d", shown.split("hidden until yours")[1])
    tom.keyboard.press("2")
    tom.keyboard.type("a product launch")
    tom.keyboard.press("Enter")
    assert "recorded" in flash(tom)
    expect(tom.get_by_text("0 of 1 second verdicts agree")).to_be_visible()


def test_a_raw_key_is_sent_once_and_stands_in_no_address(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/search")
    page.fill("#raw-key", "sk-live-canary-0451")
    page.get_by_role("button", name="Key and find").click()
    page.wait_for_url(re.compile(r"/accounts/[0-9a-f]{16}$"))
    assert "canary" not in page.content()


def test_an_export_comes_with_progress(person: Callable[[str], Page]) -> None:
    page = person("ana")
    page.goto("/export?state=all")
    with page.expect_download() as saved:
        page.get_by_role("link", name="OCSF detection findings").click()
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    findings = [json.loads(line) for line in lines]
    assert len(findings) >= 60
    assert {finding["class_uid"] for finding in findings} == {2004}
    assert any(finding.get("verdict_id") == 2 for finding in findings)
    expect(page.locator("[data-progress]")).to_contain_text("saved")


def test_pages_read_and_act_without_javascript(
    person: Callable[[str], Page], open_context: Callable[..., BrowserContext], stack: Stack
) -> None:
    person("ana")
    page = open_context(java_script_enabled=False).new_page()
    page.goto("/signin")
    page.fill("#name", "ana")
    page.fill("#password", stack.passwords["ana"])
    page.get_by_role("button").click()
    page.goto("/queue?state=all")
    page.locator(".facets a", has_text="critical").click()
    expect(page).to_have_url(re.compile("severity=critical"))
    page.locator(".what a").first.click()
    expect(page.get_by_text("Expected against actual", exact=False).first).to_be_visible()
    page.locator("summary", has_text="Comment").click()
    page.fill("#comment", "written without a script")
    page.locator("form:has(#comment) button").click()
    expect(page.locator(".log")).to_contain_text("written without a script")
    page.context.close()


def test_live_counts_come_by_themselves_and_rows_stay(person: Callable[[str], Page], stack: Stack) -> None:
    page = person("ana")
    page.goto("/queue?state=all")
    rows = page.locator("tbody[data-row]").evaluate_all("rows => rows.map(row => row.id)")
    send_alerts(stack.servers, count=30, first=60)
    expect(page.locator("[data-new]")).to_have_text("30 new")
    assert page.locator("tbody[data-row]").evaluate_all("rows => rows.map(row => row.id)") == rows
    expect(page.locator("nav [data-live=open]")).to_be_visible()
    total = int(page.locator(".list-head b").inner_text())
    page.locator("[data-new]").click()
    expect(page.locator(".list-head b")).to_have_text(str(total + 30))


def test_the_audit_tells_who_did_what(person: Callable[[str], Page]) -> None:
    page = person("admin")
    page.goto("/audit?actor=ana")
    expect(page.locator("table.audit")).to_contain_text("alert.labelled")
    page.goto("/audit")
    text = page.locator("table.audit").inner_text()
    for act in ("review.given", "entitlement.approved"):
        page.goto("/audit" if act in text else "/audit?actor=tom")
        expect(page.locator("table.audit")).to_contain_text(act)


def test_an_analyst_finds_no_page_of_an_admin(person: Callable[[str], Page], watched: Watched) -> None:
    watched.expected.add("status of 403")
    answer = person("ana").goto("/people")
    assert answer is not None
    assert answer.status == 403
