"""`stillwatch backtest`, `references build` and `evaluate` on files, as a user calls them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from schemas.alert import decode_alert
from services import bootstrap
from services.cli import backtest as command
from services.cli import evaluate, simulate
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_MS = 1_780_012_800_000
app = typer.Typer()
command.register(app)
simulate.register(app)
evaluate.register(app)


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    counts: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return counts


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLWATCH_HMAC_KEY", "k" * 32)
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "2")
    bootstrap.load_settings.cache_clear()
    yield tmp_path
    bootstrap.load_settings.cache_clear()


def test_from_simulated_files_to_judged_alerts(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, days in ((1, 4), (2, 1)):
        run(
            *("simulate", "--scenario", "tiny", "--days", days, "--seed", seed, "--start-ms", START_MS),
            *("--to", f"{seed}.jsonl", "--truth", f"{seed}.truth", "--accounts", f"{seed}.accounts"),
            *("--shared-data", workplace / "absent"),
        )
    truth = map(json.loads, (workplace / "1.truth").read_text().splitlines())
    attackers = {row["account"] for row in truth if row["campaign"] is not None}
    lines = (workplace / "1.jsonl").read_text().splitlines()
    honest = [line for line in lines if json.loads(line)["api_key"] not in attackers]
    (workplace / "honest.jsonl").write_text("\n".join([*honest, "not a record"]) + "\n")
    built = run("references", "build", "honest.jsonl", "--format", "openai", "--out", "r.json", "--version", "v7")
    assert built["events"] == len(honest)
    assert sum(built["rejected"].values()) == 1
    assert built["pools"]["all/all"] > 60
    twice = run(
        *("references", "build", "honest.jsonl", "--accounts-only", "2.jsonl"),
        *("--format", "openai", "--out", "twice.json"),
    )
    assert twice["pools"] == built["pools"]
    assert sum(twice["accounts"].values()) > sum(built["accounts"].values())

    monkeypatch.setenv("STILLWATCH_REFERENCES", "r.json")
    bootstrap.load_settings.cache_clear()
    counts = run(
        *("backtest", "2.jsonl", "--format", "openai", "--accounts", "2.accounts", "--truth", "2.truth"),
        *("--alerts", "a.jsonl", "--id-map", "ids.json", "--revisions", "rev.jsonl"),
    )
    assert counts["references"] == "v7"
    assert counts["evaluation"]["campaigns_found"] == 1
    raised = (workplace / "a.jsonl").read_bytes().splitlines()
    assert len(raised) == counts["alerts"] >= 1
    assert len((workplace / "rev.jsonl").read_bytes().splitlines()) == counts["revisions"] >= len(raised)
    first = json.loads(raised[0])
    wanted = {"alert_id", "subject_kind", "subject", "members", "event_time", "score", "severity", "contributions"}
    assert wanted <= first.keys()
    ids = json.loads((workplace / "ids.json").read_text())
    assert {member.account for line in raised for member in decode_alert(line).members} <= set(ids.values())
    # Nothing of a raw key is in the alerts.
    assert not any(raw.encode() in line for raw in ids for line in raised)

    judged = run("evaluate", "--alerts", "rev.jsonl", "--truth", "2.truth", "--id-map", "ids.json", "--days", 1)[
        "evaluation"
    ]
    for name in ("campaigns_found", "attack_accounts_named_share", "honest_accounts_named", "named_precision"):
        assert judged[name] == counts["evaluation"][name]


@pytest.mark.usefixtures("workplace")
def test_a_backtest_of_nothing_says_what_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detection.detectors.reference import References

    (tmp_path / "r.json").write_bytes(References(version="none").to_json())
    monkeypatch.setenv("STILLWATCH_REFERENCES", str(tmp_path / "r.json"))
    bootstrap.load_settings.cache_clear()
    (tmp_path / "no.jsonl").write_text("[]\n")
    with pytest.raises(command.NothingToTestError, match="request of openai"):
        run("backtest", "no.jsonl", "--format", "openai", "--alerts", "a.jsonl")


@pytest.mark.usefixtures("workplace")
def test_an_account_file_for_some_of_the_traffic_only_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="some files only"):
        run("references", "build", "a", "b", "--accounts", "c", "--format", "openai", "--out", "r.json")
