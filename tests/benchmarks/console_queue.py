"""`make bench-console`: the queue's page with 100,000 alerts on a warm Postgres; times, plans, weight, vitals.

Times are those of whole requests on loopback, rendered page included. The plans are EXPLAIN (ANALYZE, BUFFERS) of the
statements that the page sends.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import uvicorn
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from services.adapters.clock import SystemClock, utc_now
from services.adapters.embedded import EmbeddedPostgres
from services.adapters.postgres.engine import create_engine
from services.api.context import ApiContext
from services.api.guard import COOKIE
from services.identity.people import add_user
from services.identity.roles import ROLES
from services.identity.sessions import open_session
from services.identity.tokens import new_password
from services.telemetry.metrics import Metrics
from tests.integration.database.consoles import console_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

ROOT = Path(__file__).parents[2]
ALERTS: Final = 100_000
TENANT: Final = "default"
ROUNDS: Final = int(os.environ.get("ROUNDS", "60"))
VIEWS: Final = {
    "first page": "/queue",
    "every state": "/queue?state=all",
    "state closed": "/queue?state=closed",
    "severity critical": "/queue?severity=critical",
    "kind": "/queue?kind=verification_request",
    "lane": "/queue?lane=account",
    "subject": "/queue?subject_kind=campaign",
    "detector": "/queue?detector=directional-tail",
    "rare detector": "/queue?detector=rare",
    "family": "/queue?family=payment",
    "assignee": "/queue?state=all&assignee=ana",
    "organisation": "/queue?state=all&organisation=000000000000d001",
    "two facets": "/queue?severity=high&family=prefix_16&lane=pool",
    "newest": "/queue?sort=newest",
    "oldest": "/queue?state=all&sort=oldest",
    "busiest organisations": "/queue/organisations",
}
SEED: Final = text("""
    INSERT INTO alerts (tenant, alert_id, revision, version, kind, lane, subject_kind, subject, state, severity, score,
                        confidence, title, event_time, updated_time, stored_at, requests, member_count, config_version,
                        detector, family, organisation, assignee, priority, record, payload)
    SELECT :tenant, lpad(to_hex(n), 16, '0'), 1, 1, CASE WHEN n % 40 = 0 THEN 'verification_request' ELSE 'alert' END,
           CASE WHEN n % 3 = 0 THEN 'account' ELSE 'pool' END, CASE WHEN n % 3 = 0 THEN 'account' ELSE 'campaign' END,
           lpad(to_hex(n + 1000000), 16, '0'),
           (ARRAY['open','open','open','open','open','open','labelled','labelled','snoozed','closed'])[1 + n % 10],
           severity, 3 + random(), confidence,
           '48 customers with the same first 16 words act like one operator: hardly anyone repeats a prompt',
           moment, moment, moment, 200 + n % 5000, 1 + n % 300, '2026.11.1',
           CASE WHEN n % 5000 = 0 THEN 'rare' WHEN n % 3 = 0 THEN 'account-tail' ELSE 'directional-tail' END,
           CASE WHEN n % 3 = 0 THEN ''
                ELSE (ARRAY['system','prefix_16','payment','network','configuration'])[1 + n % 5] END,
           lpad(to_hex(53248 + n % 4000), 16, '0'), CASE WHEN n % 25 = 0 THEN 'ana' END,
           confidence * CASE severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END,
           convert_to(repeat('x', 1500), 'UTF8'),
           jsonb_build_object('contributions', '[]'::jsonb, 'findings', '[]'::jsonb)
      FROM (SELECT n, (ARRAY['low','low','medium','medium','high','critical'])[1 + n % 6] AS severity,
                   0.5 + random() / 2 AS confidence, now() - n * interval '40 seconds' AS moment
              FROM generate_series(1, :alerts) AS n) AS made
""")


@contextmanager
def database() -> Iterator[Engine]:
    """A database of this run's own, with everything in it and warm."""
    with tempfile.TemporaryDirectory() as name, EmbeddedPostgres(Path(name)) as server:
        url = server.url
        environment = {**os.environ, "STILLWATCH_DATABASE_URL": url}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=environment, check=True)
        engine = create_engine(url, process="bench", statement_timeout_ms=600_000)
        with engine.begin() as connection:
            connection.execute(SEED, {"tenant": TENANT, "alerts": ALERTS})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE) alerts"))
        yield engine
        engine.dispose()


@contextmanager
def console(engine: Engine) -> Iterator[tuple[str, str]]:
    """The API and the console on a free port; gives the URL and a session's cookie."""
    context = ApiContext(
        engine=engine, metrics=Metrics(), clock=SystemClock(), tenant=TENANT, checks={}, secret=b"for-a-bench" * 4
    )
    app = console_app(context)
    with Session(engine) as session, session.begin():
        user = add_user(session, TENANT, "ana", roles=ROLES, password=new_password(), by="bench", now=utc_now())
        token = open_session(session, user, "password", utc_now()).token
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", token
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def measure(url: str, token: str) -> None:
    """Ask for every view many times, and tell the times."""
    out = sys.stdout.write
    with httpx.Client(base_url=url, cookies={COOKIE: token}, timeout=60) as client:
        for path in VIEWS.values():
            client.get(path).raise_for_status()
        out("\n| view | p50 ms | p95 ms | worst ms | kB |\n| --- | --- | --- | --- | --- |\n")
        for name, path in VIEWS.items():
            times = []
            size = 0
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = client.get(path, headers={"Accept-Encoding": "identity"})
                times.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
                size = len(answer.content)
            p95 = statistics.quantiles(times, n=20)[18]
            out(f"| {name} | {statistics.median(times):.0f} | {p95:.0f} | {max(times):.0f} | {size / 1000:.0f} |\n")


def plans(engine: Engine, url: str, token: str) -> None:
    """Explain what the queue's page sends."""
    seen: dict[str, Any] = {}

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM alerts" in statement and statement.startswith("SELECT"):
            seen.setdefault(statement, parameters)

    event.listen(engine, "before_cursor_execute", note)
    with httpx.Client(base_url=url, cookies={COOKIE: token}, timeout=60) as client:
        for path in ("/queue", "/queue?state=closed&severity=critical", "/queue/organisations"):
            client.get(path).raise_for_status()
    event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        for statement, parameters in seen.items():
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}", parameters)
            told = "\n".join(row[0] for row in rows)
            where = statement[statement.index("FROM alerts") :].replace("\n", " ")
            sys.stdout.write(f"\n-- {where[:300]}\n{told}\n")


def vitals(url: str, token: str) -> None:
    """Drive the page in Chromium: weight without a cache, hosts, interaction to next paint, layout shift."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stdout.write("\nno Chromium here: weight and vitals are left out\n")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": COOKIE, "value": token, "url": url}])
        page = context.new_page()
        weights: list[tuple[str, int]] = []
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        asked: dict[str, str] = {}
        session.on("Network.requestWillBeSent", lambda told: asked.update({told["requestId"]: told["request"]["url"]}))
        session.on(
            "Network.loadingFinished",
            lambda told: weights.append((asked.get(told["requestId"], ""), int(told["encodedDataLength"]))),
        )
        page.add_init_script(
            "globalThis.shifts = 0; globalThis.slow = [];"
            "const watch = (note) => new PerformanceObserver((list) => list.getEntries().forEach(note));"
            "watch((entry) => { if (!entry.hadRecentInput) shifts += entry.value; })"
            ".observe({ type: 'layout-shift', buffered: true });"
            "watch((entry) => { if (entry.interactionId) slow.push(entry.duration); })"
            ".observe({ type: 'event', durationThreshold: 16, buffered: true });"
        )
        trace = Path(tempfile.mkdtemp()) / "trace.json"
        browser.start_tracing(page=page, path=trace)
        page.goto(f"{url}/queue")
        page.wait_for_selector("tbody.here")
        page.wait_for_timeout(3000)
        # Before any interaction: what a reader pays to see the page.
        total = sum(size for _, size in weights)
        for key in ("j", "j", "x", "k", "e", "j", "x"):
            page.keyboard.press(key)
            page.wait_for_timeout(250)
        page.locator("#facets a", has_text="critical").click()
        page.wait_for_url("**severity=critical**")
        page.wait_for_timeout(1500)
        shifts, slow = page.evaluate("[shifts, slow]")
        paints = page.evaluate("performance.getEntriesByType('paint').map(e => [e.name, e.startTime])")
        browser.stop_tracing()
        events = trace.stat().st_size
        sys.stdout.write(f"\npage weight, uncached: {total / 1000:.1f} kB in {len(weights)} answers\n")
        for address, size in sorted(weights, key=lambda row: -row[1])[:8]:
            sys.stdout.write(f"  {size / 1000:7.1f} kB  {address.removeprefix(url)[:80]}\n")
        hosts = {address.split("/")[2] for address in asked.values() if address.startswith("http")}
        sys.stdout.write(f"hosts asked: {len(hosts)}\nlayout shift (CLS): {shifts:.4f}\n")
        worst = max(slow, default=0.0)
        sys.stdout.write(f"interactions over 16 ms: {len(slow)}; interaction to next paint, worst: {worst:.0f} ms\n")
        sys.stdout.write(f"paints: {paints}\ntrace: {events / 1e6:.1f} MB\n")
        browser.close()


def main() -> None:
    """Run it all."""
    with database() as engine, console(engine) as (url, token):
        measure(url, token)
        plans(engine, url, token)
        vitals(url, token)


if __name__ == "__main__":
    main()
