"""The commands on a real database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from schemas.alert import encode_alert
from services import bootstrap
from services.adapters.postgres.alerts import UnknownAlertError
from services.adapters.postgres.entitlements import EntitledAlreadyError, PeriodError
from services.adapters.postgres.migrate import SchemaError
from services.cli import alerts as alerts_commands
from services.cli import migrate as migrate_command
from services.errors import NotRunningError
from tests.integration.database.samples import account_id, make_alert, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from typer.testing import Result

pytestmark = pytest.mark.integration


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    app = typer.Typer()
    alerts_commands.register(app)
    migrate_command.register(app)
    monkeypatch.setenv("STILLWATCH_DATABASE_URL", database_url)
    monkeypatch.setenv("STILLWATCH_TENANT", "acme")
    monkeypatch.setenv("STILLWATCH_ACTOR", "ana")
    monkeypatch.setenv("COLUMNS", "80")
    bootstrap.load_settings.cache_clear()

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield invoke
    bootstrap.load_settings.cache_clear()


@pytest.fixture
def alerts(engine: Engine) -> None:
    store(engine, "acme", [make_alert(number) for number in (1, 2, 3)])
    store(engine, "acme", [make_alert(2, 2, title="a [bold] claim", severity="low")])


def test_lists_as_a_table_and_as_json(run: Callable[..., Result], alerts: None) -> None:
    told = run("alerts", "list").stdout
    for number in (1, 2, 3):
        assert make_alert(number).alert_id in told
    assert "a [bold] claim" in told
    assert max(map(len, told.splitlines())) <= 80
    page = json.loads(run("alerts", "list", "--limit", "2", "--json").stdout)
    rest = json.loads(run("alerts", "list", "--cursor", page["next_cursor"], "--json").stdout)
    assert [len(page["items"]), len(rest["items"])] == [2, 1]
    low = json.loads(run("alerts", "list", "--severity", "low", "--json").stdout)
    assert [row["revision"] for row in low["items"]] == [2]


def test_nothing_is_said_in_words(run: Callable[..., Result]) -> None:
    assert run("alerts", "list").stdout == "None yet.\n"
    assert run("entitlements", "list").stdout == "None yet.\n"


def test_a_label_is_shown_with_the_alert(run: Callable[..., Result], alerts: None) -> None:
    alert_id = make_alert(1).alert_id
    told = run("alerts", "label", alert_id, "true_positive", "--reason", "shared [template]").stdout
    assert told == f"{alert_id} is labelled true_positive by ana.\n"
    shown = run("alerts", "show", alert_id).stdout
    assert "shared [template]" in shown
    assert "count_dispersion" in shown
    detail = json.loads(run("alerts", "show", alert_id, "--json").stdout)
    assert (detail["state"], detail["labels"][0]["actor"]) == ("labelled", "ana")


def test_a_label_without_a_reason_or_an_alert_is_refused(run: Callable[..., Result], alerts: None) -> None:
    assert run("alerts", "label", make_alert(1).alert_id, "benign", "--reason", " ").exit_code == 2
    assert run("alerts", "label", make_alert(1).alert_id, "guilty", "--reason", "x").exit_code == 2
    with pytest.raises(UnknownAlertError):
        run("alerts", "label", "nothing", "benign", "--reason", "x")


def test_export_writes_the_exact_bytes(run: Callable[..., Result], alerts: None, tmp_path: Path) -> None:
    newest = [make_alert(1), make_alert(2, 2, title="a [bold] claim", severity="low"), make_alert(3)]
    expected = b"".join(encode_alert(alert) + b"\n" for alert in newest)
    assert run("alerts", "export").stdout_bytes == expected
    file = tmp_path / "alerts.jsonl"
    assert "3 alerts" in run("alerts", "export", "--output", str(file)).stderr
    assert file.read_bytes() == expected


def test_entitlements_come_and_go(run: Callable[..., Result]) -> None:
    arguments = ["entitlements", "add", account_id(7), "--until", "2100-01-01", "--reference", "contract 7"]
    (added,) = json.loads(run(*arguments, "--json").stdout)["items"]
    with pytest.raises(EntitledAlreadyError):
        run(*arguments)
    assert added["entitlement_id"] in run("entitlements", "list", "--in-force").stdout
    assert "by ana" in run("entitlements", "revoke", added["entitlement_id"]).stdout
    assert run("entitlements", "list", "--in-force").stdout == "None yet.\n"
    assert run("entitlements", "add", "short", "--until", "2100-01-01", "--reference", "x").exit_code == 2
    with pytest.raises(PeriodError):
        run("entitlements", "add", account_id(8), "--until", "2001-01-01", "--reference", "x")


def test_a_database_without_its_schema_says_what_to_do(
    run: Callable[..., Result], empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLWATCH_DATABASE_URL", empty_database_url)
    bootstrap.load_settings.cache_clear()
    with pytest.raises(SchemaError) as raised:
        run("alerts", "list")
    assert raised.value.hint == "Run `stillwatch migrate`."
    assert run("migrate").exit_code == 0
    assert run("alerts", "list").stdout == "None yet.\n"


def test_a_database_that_is_away_is_told_in_one_line(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLWATCH_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    bootstrap.load_settings.cache_clear()
    with pytest.raises(NotRunningError, match="does not answer"):
        run("alerts", "list")
