"""What the capacity model must know beside the two jobs: the normaliser's CPU, and what an alert takes in Postgres."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from measure import ROOT
from sqlalchemy import Engine, text

from detection.outcomes import Alert, Evidence, Member
from schemas.alert import encode_alert
from services.adapters.clock import utc_now
from services.adapters.embedded import EmbeddedPostgres
from services.adapters.postgres.alert_store import Incoming, store_alerts
from services.adapters.postgres.engine import create_engine
from services.cli.worker import FormatNormaliser
from services.gateway.formats.registry import VENDORS
from services.gateway.identity import Identity

RECORDS: Final = 400
CHARACTERS: Final = (1_000, 4_000, 10_000)
ALERTS: Final = 2_000
MEMBERS: Final = (10, 100)
_DAY: Final = "2026-03-10T08:00:00Z"


def measure() -> dict[str, Any]:
    """Measure both."""
    return {"normalise": normalise(), "database": database()}


def normalise() -> list[dict[str, float]]:
    """Give the CPU of one record by the length of its prompt, and its bytes."""
    normaliser = FormatNormaliser("openai", VENDORS["openai"], Identity(bytes(32)))
    encode = msgspec.json.Encoder().encode
    dice = random.Random(7)  # noqa: S311 - text for a benchmark
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(4_000)]
    found = []
    for characters in CHARACTERS:
        records = [_pair(characters, number, words, dice) for number in range(RECORDS)]
        taken = []
        for number, record in enumerate(records):
            begun = time.process_time()
            for made in normaliser(record, f"bench.0.{number}"):
                encode(made)
            taken.append(time.process_time() - begun)
        found.append(
            {
                "characters": characters,
                "cpu_us": 1e6 * statistics.mean(taken[RECORDS // 10 :]),
                "bytes": statistics.mean(map(len, records)),
            }
        )
    return found


def _pair(characters: int, number: int, words: list[str], dice: random.Random) -> bytes:
    prompt = " ".join(dice.choices(words, k=characters // 6))[:characters]
    answer = " ".join(dice.choices(words, k=150))
    record = {
        "request": {"model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": 0.7},
        "response": {
            "id": f"chat-{number}",
            "model": "m",
            "choices": [{"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": characters // 4, "completion_tokens": 200},
        },
        "account": f"account-{number % 50}",
        "client_address": "198.51.100.7",
        "user_agent": "openai-python/2",
        "started_at": 1_795_318_678.0 + number,
        "status": 200,
    }
    return json.dumps(record).encode()


def database() -> list[dict[str, float]]:
    """Give what a new alert takes in Postgres, all its tables and indexes, by its members."""
    found = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, EmbeddedPostgres(Path(folder)) as server:
        environment = {**os.environ, "STILLWATCH_DATABASE_URL": server.url}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=environment, check=True)
        engine = create_engine(server.url, process="bench", pool_size=1)
        for turn, members in enumerate(MEMBERS):
            before = _size(engine)
            for start in range(0, ALERTS, 100):
                numbers = range(turn * ALERTS + start, turn * ALERTS + start + 100)
                now = utc_now()
                with engine.begin() as connection:
                    incoming = [Incoming(each, encode_alert(each), now, now) for each in _alerts(numbers, members)]
                    store_alerts(connection, "default", incoming, now)
            found.append({"members": members, "bytes": (_size(engine) - before) / ALERTS})
        engine.dispose()
    return found


def _size(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _alerts(numbers: range, members: int) -> list[Alert]:
    evidence = [Evidence(feature=f"feature_{place}", actual=0.97, expected=0.12, weight=0.1) for place in range(6)]
    return [
        Alert(
            alert_id=f"a{number:015x}",
            revision=1,
            kind="alert",
            lane="pool",
            subject_kind="campaign",
            subject=f"c{number:015x}",
            event_time=_DAY,
            updated_time=_DAY,
            score=3.1,
            severity="high",
            confidence=0.8,
            title=f"{members} accounts act like one operator",
            requests=members * 40,
            contributions=evidence,
            members=[
                Member(
                    account=f"{number * 1_000 + place + 1:016x}",
                    customer=f"{number * 1_000 + place + 1:016x}",
                    requests=40,
                    strength=0.81,
                    since=_DAY,
                )
                for place in range(members)
            ],
            findings=[],
            config_version="bench",
        )
        for number in numbers
    ]
