"""Every page, light and dark: a screenshot for the docs, axe-core without a violation, and nothing to complain of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

    from tests.browser.conftest import Stack, Watched

HERE = Path(__file__).parent
SCREENSHOTS = HERE.parents[1] / "docs" / "screenshots"
AXE = (HERE / "vendor" / "axe.min.js").read_text(encoding="utf-8")
PAGES = {
    "overview": "/",
    "queue": "/queue?state=all",
    "alert": "ALERT",
    "account": "ACCOUNT",
    "search": "/search",
    "bulk": "BULK",
    "quality": "/quality",
    "models": "/models",
    "review": "/quality/review",
    "entitlements": "/entitlements",
    "enforcement": "/enforcement",
    "shadow": "/shadow",
    "trial": "TRIAL",
    "audit": "/audit",
    "export": "/export?state=all",
    "people": "/people",
    "missing": "/alerts/nothing",
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(
    request: pytest.FixtureRequest, open_context: Callable[..., BrowserContext], person: Callable[[str], Page]
) -> Page:
    """The admin's page in one of the two themes."""
    state = person("admin").context.storage_state()
    context = open_context(color_scheme=request.param, storage_state=state, reduced_motion="reduce")
    page = context.new_page()
    page.goto("/")
    page.scheme = request.param  # type: ignore[attr-defined]  # told to the test by the one object they share
    return page


def address(page: Page, name: str) -> str:
    """Find the page of a thing that the run has."""
    place = PAGES[name]
    if place == "ALERT":
        page.goto("/queue?state=all&subject_kind=campaign&sort=priority")
        # The demo's own campaigns have hundreds of accounts; they show most.
        rows = page.locator("tbody[data-row]")
        sizes = [int(text.replace(",", "")) for text in rows.locator("td:nth-child(4)").all_inner_texts() if text]
        return str(rows.nth(sizes.index(max(sizes))).get_attribute("data-href"))
    if place == "ACCOUNT":
        page.goto(address(page, "alert"))
        return str(page.locator("table a[href^='/accounts/']").first.get_attribute("href"))
    if place == "TRIAL":
        page.goto("/shadow")
        if not page.locator("td a[href^='/shadow/']").count():
            page.fill("[name='pools.threshold']", "4.5")
            page.get_by_role("button", name="Run the trial").click()
            page.wait_for_selector("text=Requests played", timeout=800_000)
            return page.url
        return str(page.locator("td a[href^='/shadow/']").first.get_attribute("href"))
    return place


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_and_looked_at(themed: Page, watched: Watched, name: str) -> None:
    scheme = themed.scheme  # type: ignore[attr-defined]  # as above
    if name == "missing":
        watched.expected.add("status of 404")
    if name == "bulk":
        themed.goto("/queue?state=all")
        for box in themed.locator('input[name="alert"]').all()[:4]:
            box.check()
        themed.get_by_role("button", name="Act on selected").click()
    else:
        themed.goto(address(themed, name))
    if name == "alert":
        themed.locator("[data-graph]").scroll_into_view_if_needed()
        themed.wait_for_selector("[data-graph] canvas")
        themed.evaluate("scrollTo(0, 0)")
    if name == "account":
        themed.wait_for_selector(".windows-chart, .windows .pad:not(:has(a))")
    if name == "overview":
        themed.wait_for_selector(".uplot, .pad")
    themed.wait_for_timeout(600)
    check_and_keep(themed, f"{name}-{scheme}")


def test_the_sign_in_page_is_sound(open_context: Callable[..., BrowserContext]) -> None:
    for scheme in ("light", "dark"):
        page = open_context(color_scheme=scheme).new_page()
        page.goto("/signin")
        check_and_keep(page, f"signin-{scheme}")
        page.context.close()


def check_and_keep(page: Page, name: str) -> None:
    """Run axe-core on the page, and keep its picture."""
    # The policy forbids inline scripts to pages, not to the debugger that runs this one.
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run({ runOnly: { type: 'tag', values: rules } })", RULES)
    told = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
    keep(page, name)
    assert told == []


def keep(page: Page, name: str) -> None:
    """Write a screenshot with 256 colours, which is a third of the bytes; under CI the docs stay as they are."""
    if "CI" in os.environ:
        return
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


def test_nothing_was_complained_of_and_nobody_else_was_asked(watched: Watched, stack: Stack) -> None:
    assert watched.complaints == []
    assert watched.hosts == {stack.url.split("//")[1]}


def test_no_browser_reported_a_refusal(stack: Stack, person: Callable[[str], Page]) -> None:
    """The policy's report address counts; its counter never moved, and it does move when asked."""
    page = person("admin")

    def reports() -> float:
        told = page.evaluate("fetch('/console/reports').then(answer => answer.json())")
        return float(told["csp_reports"])

    assert reports() == 0
    report = '{"csp-report": {"effective-directive": "script-src"}}'
    page.evaluate("body => fetch('/csp-report', { method: 'POST', body }).then(answer => answer.status)", report)
    assert reports() == 1
