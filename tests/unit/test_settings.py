"""Settings: the environment and secret files in, nothing secret out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from services.bootstrap import bootstrap_servers, database_url, load_detection_config, load_references
from services.errors import ConfigurationError, NotRunningError
from services.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_comes_from_a_file_and_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql+psycopg://u:hunter2@db/x\n", encoding="utf-8")
    monkeypatch.setenv("STILLWATCH_DATABASE_URL_FILE", str(secret))
    settings = Settings()
    assert database_url(settings) == "postgresql+psycopg://u:hunter2@db/x"
    assert "hunter2" not in " ".join(settings.effective().values())


def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "none")
    with pytest.raises(ValidationError, match="partitions"):
        Settings()


def test_addresses_are_named_or_nothing_runs(tmp_path: Path) -> None:
    settings = Settings(base_dir=tmp_path)
    with pytest.raises(NotRunningError):
        bootstrap_servers(settings)
    with pytest.raises(NotRunningError):
        database_url(settings)
    assert bootstrap_servers(Settings(base_dir=tmp_path, kafka_bootstrap_servers="named:9")) == "named:9"


def test_a_detection_file_overrides_and_a_misspelt_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "detection.json"
    file.write_text('{"version": "mine", "pools": {"minimum_customers": 7}}', encoding="utf-8")
    config = load_detection_config(Settings(detection_config=file))
    assert (config.version, config.pools.minimum_customers, config.pools.minimum_requests) == ("mine", 7, 30)
    file.write_text('{"pools": {"minimum_custumers": 7}}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="minimum_custumers"):
        load_detection_config(Settings(detection_config=file))


def test_missing_references_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_references(Settings(references=tmp_path / "nowhere.json"))
