"""The real stack and a real browser: `make test-browser` runs the files of this folder; `make test` does not.

Every page of every context is watched: errors on the console, refusals by the content policy, and requests to another
host fail the run at its end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.alerts import send_alerts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
# Slow machines and slow renderers are no failures.
PATIENCE_MS = 60_000
START_SECONDS = 900.0
expect.set_options(timeout=PATIENCE_MS)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
ROLES = {"ana": ["analyst"], "tom": ["analyst", "lead"], "lea": ["analyst", "lead"], "eve": ["engineer"]}


@dataclass
class Watched:
    """What went wrong on pages, and which hosts were asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    # A page that is told of a lost session or a missing record answers so on purpose.
    expected: set[str] = field(default_factory=set)


@dataclass
class Stack:
    """Where the product listens, and everybody's password."""

    url: str
    passwords: dict[str, str]
    servers: str


@pytest.fixture(scope="session")
def chromium_path() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no Chromium: `apt-get install chromium`, or run `make test-browser` as root, which does it"
    return found


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`stillwatch up --simulate demo` in a directory of its own, with sixty alerts more than the demo raises."""
    base = tmp_path_factory.mktemp("browser")
    log = base / "up.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}
    environment["STILLWATCH_BASE_DIR"] = str(base / "state")
    command = [sys.executable, "-m", "services.cli.main", "up", "--simulate", "demo"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        told = _wait_for(log, process, r"sign in +admin / (\S+)")
        password = told[1]
        said = log.read_text(encoding="utf-8", errors="replace")
        address, servers = (re.search(rf"{name} +(\S+)", said) for name in ("console", "Kafka"))
        assert address
        assert servers
        send_alerts(servers[1], count=60)
        yield Stack(address[1].rstrip("/"), {"admin": password}, servers[1])
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(log: Path, process: subprocess.Popen[bytes], pattern: str) -> re.Match[str]:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        said = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, said[-3000:]
        found = re.search(pattern, said)
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {START_SECONDS:.0f} s: {pattern}")


@pytest.fixture(scope="session")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium_path, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def watched() -> Watched:
    return Watched()


@pytest.fixture(scope="session")
def open_context(browser: Browser, stack: Stack, watched: Watched) -> Callable[..., BrowserContext]:
    """Open a context whose pages are watched."""

    def opened(**options: object) -> BrowserContext:
        context = browser.new_context(base_url=stack.url, viewport={"width": 1440, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MS)

        def hear(page: Page) -> None:
            page.on("console", lambda said: _complain(watched, said.type, said.text, page.url))
            page.on("pageerror", lambda error: watched.complaints.append(f"{page.url}: {error}"))
            page.on("request", lambda request: watched.hosts.add(request.url.split("/")[2]))

        context.on("page", hear)
        return context

    return opened


def _complain(watched: Watched, kind: str, text: str, url: str) -> None:
    if kind in {"error", "warning"} and not any(part in text for part in watched.expected):
        watched.complaints.append(f"{url}: {kind}: {text}")


@pytest.fixture(scope="session")
def admin(open_context: Callable[..., BrowserContext], stack: Stack) -> Page:
    """The admin, signed in, who has made everybody else by the page."""
    page = sign_in(open_context(), stack, "admin")
    for name, roles in ROLES.items():
        page.goto("/people")
        page.get_by_text("Add a person").click()
        page.fill("#new-name", name)
        form = page.locator('form[action="/people"]')
        for role in roles:
            form.get_by_label(role, exact=True).check()
        form.get_by_role("button").click()
        stack.passwords[name] = page.locator(".flash code").inner_text()
    return page


@pytest.fixture(scope="session")
def person(admin: Page, open_context: Callable[..., BrowserContext], stack: Stack) -> Callable[[str], Page]:
    """Give a page on which this person is signed in; one browser each."""
    pages: dict[str, Page] = {"admin": admin}

    def page_of(name: str) -> Page:
        if name not in pages:
            pages[name] = sign_in(open_context(), stack, name)
        return pages[name]

    return page_of


def sign_in(context: BrowserContext, stack: Stack, name: str) -> Page:
    page = context.new_page()
    page.goto("/")
    page.wait_for_url("**/signin**")
    page.fill("#name", name)
    page.fill("#password", stack.passwords[name])
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Overview')")
    return page
