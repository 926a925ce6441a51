"""The commands of the documentation's blocks, run as they stand there against a real broker and a real database.

Names in capitals stand for what a reader fills in, and are filled in here. What a block shows and is not run stands in
``ELSEWHERE`` with the reason and who runs it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from detection.config import DecisionPolicy
from detection.policy.decisions import Proposal
from schemas.model_version import ModelVersion
from schemas.topics import TOPICS
from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.postgres import decisions, issuing, models
from services.adapters.postgres.engine import create_engine
from services.adapters.signatures import Signer
from services.cli import main as cli
from services.errors import StillwatchError
from tests.docs.commands import PAPERS, ROOT, Command, commands_of, every_command
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from services.adapters.embedded import EmbeddedKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
TENANT: Final = "acme"
FORMATS: Final = ROOT / "tests/unit/gateway/formats"
# Sub-command to why it is not run here, and the paths of who runs it.
ELSEWHERE: Final = {
    "up": "starts the whole product: tests/integration/test_up_services.py, tests/acceptance",
    "intake": "serves until it is stopped: tests/unit/gateway/test_intake.py",
    "evaluate": "plays worlds for hours: tests/unit/evaluation plays small ones",
}
# What a sentence names, and is complete: it changes nothing, or nothing that matters to another test.
INLINE: Final = (
    ("audit", "verify"),
    ("config",),
    ("dead-letters", "list"),
    ("decisions", "keys"),
    ("doctor",),
    ("keys", "status"),
    ("migrate",),
    ("status",),
    ("subscribe", "list"),
    ("topics", "apply"),
    ("topics", "diff"),
)
# Documented ends besides 0, by what the machine is: the broker is shared by tests that made topics of other widths.
ENDS: Final[dict[str, frozenset[int]]] = {
    "doctor": frozenset((7,)),
    "status": frozenset((4,)),
    "topics": frozenset((1, 6)),
}


class Reader:
    """Somebody who follows a page: what it leaves open is filled in with what there is."""

    def __init__(self, engine: Engine, here: Path) -> None:
        self._engine = engine
        self._here = here
        self._open = self._decide("proposed")
        self._standing = self._decide("issued")
        parameters = {"bar.pool": 1.1, "budget.pool": 1.1, "budget": 4.0, "hours": 168.0}
        version = ModelVersion(
            model="bars",
            version=3,
            stage="shadow",
            trained_on=0,
            positives=0,
            created_at="2026-03-10T11:00:00.000Z",
            parameters=parameters,
        )
        with engine.begin() as connection:
            models.store_shadows(connection, TENANT, [version], utc_now())

    def run(self, command: Command) -> tuple[int, str]:
        """Run one command; gives its exit code and what it wrote. A bug is raised."""
        words = [self._filled(word, command) for word in command.words[1:]]
        done = CliRunner().invoke(cli.app, words)
        if isinstance(done.exception, StillwatchError):
            return done.exception.exit_code, str(done.exception)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    def _filled(self, word: str, command: Command) -> str:
        if word == "DECISION":
            return self._standing if "revoke" in command.words else self._open
        if word == "WEBHOOK":
            return self._newest("webhooks", "webhook_id", "created_at")
        if word == "ENTITLEMENT":
            return self._newest("entitlements", "entitlement_id", "created_at")
        known = {
            "ORGANISATION": "0123456789abcdef",
            "ID": "fedcba9876543210",
            "NAME": "lea",
            # A page is read for longer than its dates lie ahead; and nobody else's server is called.
            "2027-01-01": "2099-01-01",
            "https://hooks.example.com/stillwatch": "http://127.0.0.1:9/stillwatch",
        }
        if word in {"FILE", "export.jsonl"}:
            kind = command.words[command.words.index("--format") + 1] if "--format" in command.words else "litellm"
            (self._here / word).write_bytes((FORMATS / f"{kind}.jsonl").read_bytes())
        return known.get(word, word)

    def _newest(self, table: str, column: str, moment: str) -> str:
        with self._engine.connect() as connection:
            question = f"SELECT {column} FROM {table} ORDER BY {moment} DESC LIMIT 1"  # noqa: S608 - names of ours
            return str(connection.execute(text(question)).scalar_one())

    def _decide(self, state: str) -> str:
        account, policy = secrets.token_hex(8), DecisionPolicy(dry_run=False)
        wanted = Proposal(
            subject_kind="account",
            subject=account,
            members=[(account, account)],
            action="throttle" if state == "issued" else "block",
            reason_codes=["lane.account"],
            evidence_id=secrets.token_hex(8),
            lifetime_ms=policy.restrict_ms,
            automatic=state == "issued",
        )
        with Session(self._engine) as session, session.begin():
            source = decisions.Source(revision=1, label_id="", judge="")
            row = decisions.propose_by_policy(session, TENANT, wanted, source, utc_now())
            assert row is not None
            issuing.issue_approved(session, TENANT, Signer(bytes(32)), policy, utc_now())
            assert row.state == state
            return row.decision_id


@pytest.fixture
def reader(
    kafka: EmbeddedKafka, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    make_topics(kafka.bootstrap_servers, {topic.name: topic.config() for topic in TOPICS})
    for name, value in {
        "BASE_DIR": str(tmp_path),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": database_url,
        "TENANT": TENANT,
        "ACTOR": "lea",
        "WEBHOOK_PRIVATE_TARGETS": "true",
    }.items():
        monkeypatch.setenv(f"STILLWATCH_{name}", value)
    monkeypatch.chdir(tmp_path)
    bootstrap.load_settings.cache_clear()
    engine = create_engine(database_url, process="test")
    yield Reader(engine, tmp_path)
    engine.dispose()
    bootstrap.load_settings.cache_clear()


def is_run(command: Command) -> bool:
    return command.program == "stillwatch" and (command.words[1] not in ELSEWHERE or command.words[-1] == "--help")


def blocks_of(paper: Path) -> list[Command]:
    return [command for command in commands_of(paper) if command.where == "block" and is_run(command)]


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if blocks_of(paper)], ids=lambda paper: paper.name)
def test_a_pages_commands_do_what_they_say_one_after_the_other(paper: Path, reader: Reader) -> None:
    for command in blocks_of(paper):
        code, said = reader.run(command)
        assert code in {0} | ENDS.get(command.words[1], frozenset()), f"{command}: {code}: {said}"


def test_what_a_sentence_names_runs_too(reader: Reader) -> None:
    named = {
        command.words: command
        for command in every_command()
        if command.program == "stillwatch" and any(command.words[1 : 1 + len(each)] == each for each in INLINE)
    }
    whole = [command for words, command in named.items() if not any(word in {"T", "R", "J"} for word in words)]
    assert {each for each in INLINE if any(one.words[1 : 1 + len(each)] == each for one in whole)} == set(INLINE)
    for command in whole:
        code, said = reader.run(command)
        assert code in {0} | ENDS.get(command.words[1], frozenset()), f"{command}: {code}: {said}"


def test_what_is_run_elsewhere_is_needed_and_looked_after() -> None:
    shown = {command.words[1] for command in every_command() if command.where == "block" and len(command.words) > 1}
    assert set(ELSEWHERE) <= shown, "a reason without a command"
    for reason in ELSEWHERE.values():
        paths = [word.strip(",") for word in reason.split() if word.startswith("tests/")]
        assert paths
        assert all((ROOT / path).exists() for path in paths)
