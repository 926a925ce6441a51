"""Heads in the database: shelved in shadow, compared, promoted by somebody who taught them nothing, and retired."""

from __future__ import annotations

import json
import re
import threading
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import typer
from confluent_kafka import Consumer, Producer
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from detection.ranking.lessons import LabelGiven, Lessons, judged
from schemas.model_version import ModelVersion
from schemas.topics import MODELS
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.postgres import audit, models
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.tables import OutboxRow
from services.alert_sink.shelf import Shelf
from services.api.context import ApiContext
from services.cli import models as commands
from services.evaluation.heads import HeadFileError, read_bars, read_head
from services.telemetry.metrics import Metrics
from tests.integration.database.consoles import console_app
from tests.integration.database.people import client_of, session_of
from tests.integration.database.samples import NOW, make_alert, store
from tests.integration.database.serving import FixedClock, serving
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from sqlalchemy import Engine

pytestmark = pytest.mark.integration


def version(number: int, *, positives: int = 30) -> ModelVersion:
    return ModelVersion(
        model="supervised",
        version=number,
        stage="shadow",
        trained_on=number,
        positives=positives,
        created_at="2026-03-10T11:00:00.000Z",
        parameters={"intercept": 0.5, "steps": float(number)},
    )


def bars(number: int, **changes: Any) -> ModelVersion:
    """Bars that the budget asked for, of a week in which the scores of accounts changed."""
    whole = ModelVersion(
        model="bars",
        version=number,
        stage="shadow",
        trained_on=0,
        positives=0,
        created_at="2026-03-10T11:00:00.000Z",
        parameters={
            "budget": 4.0,
            "hours": 168.0,
            "bar.pool": 1.05 + number / 100,
            "budget.pool": 1.05 + number / 100,
            "hourly.pool": 6.5,
            "raised.pool": 3.75,
            "drift.account": 1_773_100_000.0,
            "drift_from.account": 0.52,
            "drift_to.account": 0.81,
        },
    )
    return msgspec.structs.replace(whole, **changes)


def shelve(engine: Engine, *versions: ModelVersion) -> None:
    with engine.begin() as connection:
        models.store_shadows(connection, "acme", versions, NOW)


def label(engine: Engine, count: int, actor: str = "ana") -> None:
    """Judge so many alerts, every other one confirmed; each has a customer of its own."""
    alerts = [make_alert(number) for number in range(1, count + 1)]
    store(engine, "acme", alerts)
    with Session(engine) as session, session.begin():
        for place, alert in enumerate(alerts):
            verdict = "true_positive" if place % 2 else "benign"
            wish = Wish(alert_id=alert.alert_id, verdict=verdict, reason="seen", actor=actor)  # type: ignore[arg-type] # one of two
            label_alert(session, "acme", wish, NOW + timedelta(seconds=place))


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    context = ApiContext(engine=engine, metrics=Metrics(), clock=FixedClock(), tenant="acme", checks={}, secret=b"k")
    with serving(console_app(context)) as served:
        yield served


@pytest.fixture
def pat(url: str, engine: Engine) -> Iterator[httpx.Client]:
    with client_of(url, session_of(engine, "acme", "pat", "publisher")) as client:
        yield client


def sent(engine: Engine) -> list[ModelVersion]:
    with Session(engine) as session:
        rows = session.scalars(select(OutboxRow).where(OutboxRow.topic == "models").order_by(OutboxRow.id)).all()
        assert {row.key for row in rows} <= {"supervised/live", "bars/live"}
        return [msgspec.json.decode(row.value, type=ModelVersion) for row in rows]


def acts(engine: Engine, model: str = "supervised") -> list[tuple[str, str, Any]]:
    with Session(engine) as session:
        rows = audit.list_acts(session, "acme", subject=f"model/{model}").rows
        assert audit.verify(session, "acme").whole
        return [(row.action, row.actor, (row.after or {}).get("version")) for row in reversed(rows)]


def test_a_publisher_promotes_what_was_looked_at_and_retires_it(engine: Engine, pat: httpx.Client) -> None:
    shelve(engine, version(57), version(58))
    (shown,) = pat.get("/v1/models").json()["items"]
    assert (shown["stage"], shown["version"], shown["weight"]) == ("shadow", 58, 0.24)
    stale = pat.post("/v1/models/supervised/promote", headers={"If-Match": '"v57"'})
    assert stale.status_code == 412
    assert sent(engine) == []
    promoted = pat.post("/v1/models/supervised/promote", headers={"If-Match": '"v58"'})
    assert (promoted.status_code, promoted.headers["etag"], promoted.json()["stage"]) == (200, '"v58"', "live")
    # A next shadow leaves what is live alone.
    shelve(engine, version(59))
    assert [(row["stage"], row["version"]) for row in pat.get("/v1/models").json()["items"]] == [
        ("live", 58),
        ("shadow", 59),
    ]
    assert pat.post("/v1/models/supervised/retire", headers={"If-Match": '"v59"'}).status_code == 412
    for _ in range(2):
        retired = pat.post("/v1/models/supervised/retire", headers={"If-Match": '"v58"'})
        assert (retired.status_code, retired.json()["stage"]) == (200, "retired")
    assert [(each.version, each.stage) for each in sent(engine)] == [(58, "live"), (58, "retired")]
    assert acts(engine) == [("model.promoted", "pat", 58), ("model.retired", "pat", 58)]
    # What was retired can come back, and another one can follow it.
    assert pat.post("/v1/models/supervised/promote").json()["version"] == 59
    assert pat.post("/v1/models/supervised/promote").status_code == 409


def test_a_head_that_has_learned_too_little_has_no_say(engine: Engine, pat: httpx.Client) -> None:
    assert pat.post("/v1/models/supervised/promote").status_code == 404
    assert pat.post("/v1/models/supervised/retire").status_code == 404
    shelve(engine, version(25, positives=19))
    assert pat.post("/v1/models/supervised/promote").status_code == 409
    assert sent(engine) == []


def test_whoever_judged_does_not_publish_what_that_taught(engine: Engine, url: str, pat: httpx.Client) -> None:
    label(engine, 4, actor="ria")
    shelve(engine, version(58))
    with client_of(url, session_of(engine, "acme", "ria", "analyst", "publisher")) as ria:
        refused = ria.post("/v1/models/supervised/promote")
    assert (refused.status_code, "has given verdicts" in refused.json()["detail"]) == (403, True)
    assert pat.post("/v1/models/supervised/promote").status_code == 200


def test_orders_are_compared_on_what_people_judged(engine: Engine, pat: httpx.Client) -> None:
    label(engine, 30)
    found = pat.get("/v1/models/supervised/comparison").json()
    assert (found["labels"], found["since_live"]) == (30, [])
    assert {row["order"]: (row["judged"], row["shown"]) for row in found["overall"]} == {
        "score": (30, 15),
        "shadow": (30, 15),
    }
    assert all(row["low"] <= row["share"] <= row["high"] for row in found["overall"])
    # The live head is asked about the labels after its own.
    lessons = Lessons()
    lessons.add(LabelGiven("l", "a", "true_positive", "2026-03-10T12:00:19.000Z"), judged(make_alert(1)))
    live = msgspec.structs.replace(version(20), created_at=lessons.last_time, parameters=lessons.parameters())
    shelve(engine, live)
    assert pat.post("/v1/models/supervised/promote").status_code == 200
    since = pat.get("/v1/models/supervised/comparison").json()["since_live"]
    assert [(row["order"], row["judged"]) for row in since] == [("score", 10), ("live", 10), ("shadow", 10)]


def test_the_page_shows_both_and_promotes_only_with_a_tick(engine: Engine, url: str, pat: httpx.Client) -> None:
    label(engine, 30)
    shelve(engine, version(30))
    page = pat.get("/models").text
    assert "version 30" in page
    assert "scores alone" in page
    (shown,) = re.findall(r'name="version" value="(\d+)"', page)

    def promote(**fields: str) -> str:
        answer = pat.post("/models/promote", data=fields)
        assert answer.status_code == 303
        return str(answer.headers["location"])

    assert promote(version=shown, model="supervised") == "/models?refused=form"
    assert promote(version=shown, model="other", confirmed="yes") == "/models?refused=form"
    shelve(engine, version(31))
    assert promote(version=shown, model="supervised", confirmed="yes") == "/models?refused=moved"
    assert "has learned on since you looked" in pat.get("/models?refused=moved").text
    assert promote(version="31", model="supervised", confirmed="yes") == "/models?done=promoted"
    assert 'action="/models/retire"' in pat.get("/models").text
    with client_of(url, session_of(engine, "acme", "vic", "viewer")) as vic:
        assert 'action="/models/retire"' not in vic.get("/models").text
    retired = pat.post("/models/retire", data={"model": "supervised", "version": "31", "confirmed": "yes"})
    assert retired.headers["location"] == "/models?done=retired"
    assert [each.stage for each in sent(engine)] == ["live", "retired"]


def test_bars_are_promoted_without_verdicts_and_every_act_on_them_can_be_undone(
    engine: Engine, pat: httpx.Client
) -> None:
    def live() -> tuple[str, int, int | None]:
        (row,) = [each for each in pat.get("/v1/models").json()["items"] if each["stage"] != "shadow"]
        return row["stage"], row["version"], row["previous"]

    shelve(engine, bars(5))
    (shown,) = pat.get("/v1/models").json()["items"]
    assert (shown["model"], shown["stage"], shown["budget"]) == ("bars", "shadow", 4.0)
    pool, account, link = shown["bars"]
    assert (pool["lane"], pool["bar"], pool["budget"], pool["hourly"], pool["raised"]) == ("pool", 1.1, 1.1, 6.5, 3.75)
    assert (account["bar"], link["bar"], link["drift"]) == (1.0, 1.0, None)
    assert (account["drift"]["before"], account["drift"]["after"]) == (0.52, 0.81)
    assert pat.post("/v1/models/bars/undo").status_code == 404
    assert pat.post("/v1/models/bars/promote", headers={"If-Match": '"v4"'}).status_code == 412
    assert pat.post("/v1/models/bars/promote", headers={"If-Match": '"v5"'}).status_code == 200
    assert live() == ("live", 5, None)
    shelve(engine, bars(6))
    assert pat.post("/v1/models/bars/promote").json()["version"] == 6
    assert live() == ("live", 6, 5)
    assert pat.post("/v1/models/bars/undo", headers={"If-Match": '"v5"'}).status_code == 412
    assert pat.post("/v1/models/bars/undo", headers={"If-Match": '"v6"'}).json()["version"] == 5
    assert live() == ("live", 5, 6)
    assert pat.post("/v1/models/bars/retire").json()["stage"] == "retired"
    assert live() == ("retired", 5, 5)
    assert pat.post("/v1/models/bars/undo").json()["stage"] == "live"
    assert live() == ("live", 5, 6)
    told = sent(engine)
    assert [(each.version, each.stage) for each in told] == [
        (5, "live"),
        (6, "live"),
        (5, "live"),
        (5, "retired"),
        (5, "live"),
    ]
    assert told[0] == told[2] == told[4] == bars(5, stage="live")
    assert [act for act, _, _ in acts(engine, "bars")] == [
        "model.promoted",
        "model.promoted",
        "model.restored",
        "model.retired",
        "model.restored",
    ]


def test_the_undo_of_a_first_promotion_leaves_nothing_live(engine: Engine, pat: httpx.Client) -> None:
    shelve(engine, bars(1))
    assert pat.post("/v1/models/bars/promote").status_code == 200
    assert pat.post("/v1/models/bars/undo").json()["stage"] == "retired"
    assert pat.post("/v1/models/bars/undo").json()["stage"] == "live"


def test_whoever_judged_does_not_publish_bars_that_verdicts_moved(engine: Engine, url: str, pat: httpx.Client) -> None:
    label(engine, 4, actor="ria")
    shelve(engine, bars(1, trained_on=4))
    with client_of(url, session_of(engine, "acme", "ria", "analyst", "publisher")) as ria:
        assert ria.post("/v1/models/bars/promote").status_code == 403
        # In bars that the budget alone asked for, nobody's verdict has a part.
        shelve(engine, bars(2))
        assert ria.post("/v1/models/bars/promote").status_code == 200


def test_the_pages_say_where_the_bars_are_and_why(engine: Engine, pat: httpx.Client) -> None:
    assert "the configured thresholds stand alone" in pat.get("/models").text
    assert "drifted" not in pat.get("/").text
    shelve(engine, bars(5))
    page = pat.get("/models").text
    assert "The budget of 4 an hour asks for \u00d7 1.1." in page
    assert "from 52 % to 81 % sure on average. Nothing was moved." in page
    assert "Scores have drifted in the lane account" in pat.get("/").text

    def act(name: str, number: int) -> str:
        answer = pat.post(f"/models/{name}", data={"model": "bars", "version": str(number), "confirmed": "yes"})
        return str(answer.headers["location"])

    assert act("promote", 5) == "/models?done=promoted"
    assert "promoted by pat" in pat.get("/models").text
    shelve(engine, bars(7))
    assert act("promote", 7) == "/models?done=promoted"
    assert "Undo: version 5 again" in pat.get("/models").text
    assert act("undo", 7) == "/models?done=restored"
    assert act("retire", 5) == "/models?done=retired"
    assert "was retired by pat" in pat.get("/models").text
    assert act("undo", 5) == "/models?done=restored"


def test_the_commands_say_and_do_the_same(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STILLWATCH_DATABASE_URL", database_url)
    monkeypatch.setenv("STILLWATCH_TENANT", "acme")
    bootstrap.load_settings.cache_clear()
    app = typer.Typer()
    commands.register(app)

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["models", *arguments])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    label(engine, 12)
    shelve(engine, version(40))
    assert json.loads(run("list", "--json"))["items"][0]["version"] == 40
    assert json.loads(run("compare", "--json"))["labels"] == 12
    assert "shadow" in run("compare")
    with pytest.raises(models.OwnModelError):
        run("promote", "--actor", "ana")
    assert "live" in run("promote", "--actor", "pat", "--version", "40")
    run("export", str(tmp_path / "head.json"))
    head = read_head(tmp_path / "head.json")
    assert head is not None
    assert (head.version, head.stage) == (40, "live")
    assert json.loads(run("retire", "--actor", "pat", "--json"))["items"][0]["stage"] == "retired"
    assert json.loads(run("undo", "--actor", "pat", "--json"))["items"][0]["stage"] == "live"
    shelve(engine, bars(5))
    assert "pool 1.1" in run("promote", "--model", "bars", "--actor", "pat", "--version", "5")
    assert {"live", "pool", "1.1"} <= set(run("bars").split())
    assert [row["version"] for row in json.loads(run("bars", "--json"))["items"]] == [5, 5]
    run("export", str(tmp_path / "bars.json"), "--model", "bars")
    assert read_bars(tmp_path / "bars.json") == bars(5, stage="live")
    with pytest.raises(HeadFileError, match="of bars, not of supervised"):
        read_head(tmp_path / "bars.json")
    bootstrap.load_settings.cache_clear()


def test_the_shelf_keeps_the_newest_shadow_and_nothing_else(engine: Engine, bootstrap_servers: str) -> None:
    make_topics(bootstrap_servers, {MODELS.name: MODELS.config()})
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    told = [version(7), version(8), msgspec.structs.replace(version(3), stage="live"), bars(4)]
    broken = msgspec.structs.replace(version(9), parameters={})
    unknown = msgspec.structs.replace(version(9), model="other")
    refused: list[object] = []
    for number, raw in enumerate([*map(msgspec.json.encode, [*told, broken, unknown]), b"no head"]):
        # A compacted topic takes nothing without a key.
        key = f"supervised/{number}"
        producer.produce(
            MODELS.name, value=raw, key=key, on_delivery=lambda error, _: refused.append(error) if error else None
        )
    assert producer.flush(20) == 0
    assert refused == []
    stop = threading.Event()
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": uuid.uuid4().hex})
    shelf = Shelf(consumer, engine, SystemClock(), "acme", stop)
    thread = threading.Thread(target=shelf.run)
    thread.start()
    expected = [("bars", "shadow", 4), ("supervised", "shadow", 8)]
    try:
        for _ in range(300):
            with Session(engine) as session:
                rows = [(row.model, row.stage, row.version) for row in models.list_models(session, "acme")]
            if rows == expected:
                break
            stop.wait(0.1)
        assert rows == expected
    finally:
        stop.set()
        thread.join(20)
