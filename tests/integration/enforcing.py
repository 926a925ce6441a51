"""From an alert to a gateway that acts on it: the processes between, an alert that asks for a block, an application."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.integration.database.samples import make_alert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detection.outcomes import Alert

ROOT = Path(__file__).parents[2]
POLICY = {"decisions": {"dry_run": False, "automatic": "block", "jitter_ms": 0, "minimum_confidence": 0.0}}
_END_SECONDS = 40


def write_policy(folder: Path) -> Path:
    """Write the configuration of a detection whose decisions are enforced at once."""
    path = folder / "detection.json"
    path.write_text(json.dumps(POLICY), encoding="utf-8")
    return path


@contextmanager
def running(modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Run processes as their commands start them; they are gone at the end."""
    processes = [subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=environment) for module in modules]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


async def answering(_scope: Any, receive: Any, send: Any) -> None:
    """Answer everything: an application behind the middleware."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


def account_alert(number: int, account: str) -> Alert:
    """Make a critical alert about one account."""
    alert = make_alert(number, members=1, subject_kind="account", subject=account, severity="critical", lane="account")
    return msgspec.structs.replace(alert, members=[msgspec.structs.replace(alert.members[0], account=account)])
