"""``stillwatch config`` and ``stillwatch topics list``: what they print without a broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from schemas.topics import TOPICS
from services.bootstrap import load_settings
from services.cli import config, topics
from services.errors import ConfigurationError
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer()
config.register(app)
topics.register(app)
SECRETS = {
    "STILLWATCH_DATABASE_URL": "postgresql+psycopg://sw:hunter2hunter2@db/sw",
    "STILLWATCH_HMAC_KEY": "0123456789abcdef0123456789abcdef",
    "STILLWATCH_KAFKA_SASL_PASSWORD": "correct horse battery",
}


@pytest.fixture(autouse=True)
def settings_are_read_anew(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Away from a developer's own .env file.
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"]])
def test_secrets_are_masked_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, arguments)
    assert result.exit_code == 0
    for value in SECRETS.values():
        assert value not in result.output
    assert "hunter2" not in result.output
    assert result.output.count("**********") == len(SECRETS)


def test_every_setting_is_shown_with_its_effective_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "64")
    result = CliRunner().invoke(app, ["config", "--json"])
    shown = json.loads(result.output)
    assert set(shown) == set(Settings.model_fields)
    assert shown["partitions"] == "64"


def test_a_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "pa55word")
    result = CliRunner().invoke(app, ["config"])
    assert isinstance(result.exception, ConfigurationError)
    assert "STILLWATCH_PARTITIONS" in str(result.exception)
    assert "pa55word" not in str(result.exception)


def test_the_table_of_topics_needs_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "12")
    rows = json.loads(CliRunner().invoke(app, ["topics", "list", "--json"]).output)
    assert [row["name"] for row in rows] == [topic.name for topic in TOPICS]
    assert {row["partitions"] for row in rows} == {1, 12}
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["topics", "list"]).output
    assert all(topic.name in shown for topic in TOPICS)
