"""Worlds through the detector: the same alerts in process and by file, none from the truth, kept between runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detection.config import Clocking, DetectionConfig
from detection.outcomes import Alert, Member
from schemas.account_attributes import AccountAttributes
from schemas.alert import encode_alert
from schemas.request_event import RequestEvent
from services import bootstrap
from services.evaluation import page, sketched
from services.evaluation.ablations import ablations
from services.evaluation.backtest import Backtest
from services.evaluation.baselines import run_baselines
from services.evaluation.judging import judge
from services.evaluation.plan import Plan
from services.evaluation.poisoning import Poisoning
from services.evaluation.prequential import MAIN, WITHOUT_CONFIGURATION, Evaluator
from services.evaluation.trial import detect, entitlements, without_configuration
from services.gateway.accounts import read_accounts
from services.gateway.sources import open_source
from services.simulator.exchange import litellm_payload
from services.simulator.world.actors import DAY_MS
from services.simulator.world.build import World, WorldOptions
from services.simulator.world.harvests import BY_NAME
from services.simulator.world.stream import exchanges

if TYPE_CHECKING:
    from pathlib import Path

    from services.evaluation.sketched import Sketched
    from services.simulator.world.actors import Block

CONFIG = DetectionConfig(clocking=Clocking(hop_ms=3_600_000))
START = WorldOptions(seed=1).start_ms


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldOptions(seed=4, honest=20, days=1, lead_days=0, crowds=()))


@pytest.fixture(scope="module")
def blocks(world: World) -> list[Block]:
    return [world.honest, world.campaign(BY_NAME["coincident"], 8)]


@pytest.fixture(scope="module")
def whole(world: World, blocks: list[Block]) -> Sketched:
    return sketched.merge([sketched.sketch_block(world, block, None) for block in blocks])


@pytest.fixture(scope="module")
def payloads(world: World, blocks: list[Block]) -> list[dict[str, Any]]:
    return [litellm_payload(exchange) for exchange in exchanges(blocks, world.library)]


def alerts_of_files(folder: Path, payloads: list[dict[str, Any]], accounts: list[dict[str, Any]]) -> list[Alert]:
    """Backtest payloads and account attributes from files, and from nothing else."""
    traffic, told = folder / "traffic.jsonl", folder / "accounts.jsonl"
    traffic.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in payloads))
    told.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in accounts))
    who = sketched.identity()
    run = Backtest(CONFIG, bootstrap.load_references(bootstrap.load_settings()), 1)
    run.tell([item for item in read_accounts(told, who) if isinstance(item, AccountAttributes)], entitlements())
    events = (item for item in open_source(traffic, "litellm", who) if isinstance(item, RequestEvent))
    return list(run.run(events))


def test_a_world_by_file_gives_the_alerts_of_the_evaluation(
    tmp_path: Path, payloads: list[dict[str, Any]], blocks: list[Block], whole: Sketched
) -> None:
    references = bootstrap.load_references(bootstrap.load_settings())
    assert references is not None
    attributes = [actor.attributes() for block in blocks for actor in block.actors]
    by_file = alerts_of_files(tmp_path, payloads, attributes)
    assert by_file
    assert list(map(encode_alert, by_file)) == list(map(encode_alert, detect(whole, CONFIG, references, 1).alerts))


def test_alerts_name_the_same_accounts_when_ids_are_shuffled_and_there_is_no_truth(
    tmp_path: Path, payloads: list[dict[str, Any]], blocks: list[Block]
) -> None:
    accounts = [actor.attributes() for block in blocks for actor in block.actors]
    keys = [account["account"] for account in accounts]
    other = dict(zip(keys, np.random.default_rng(3).permutation(keys).tolist(), strict=True))
    fresh = {key: f"sk-other-{other[key][-12:]}" for key in keys}
    renamed = json.loads(json.dumps(payloads))
    for place, line in enumerate(renamed):
        line["metadata"]["user_api_key_hash"] = fresh[line["metadata"]["user_api_key_hash"]]
        line["id"] = line["litellm_call_id"] = f"call-{place}"
    who = sketched.identity()
    named = []
    for name, lines, rename in (
        ("as-made", payloads, dict(zip(keys, keys, strict=True))),
        ("shuffled", renamed, fresh),
    ):
        (tmp_path / name).mkdir()
        told = [account | {"account": rename[account["account"]]} for account in accounts]
        raw = {who.account(rename[key]): key for key in keys}
        alerts = alerts_of_files(tmp_path / name, lines, told)
        named.append({raw[member.account] for alert in alerts for member in alert.members if member.strength > 0.5})
    assert named[0]
    assert named[0] == named[1]


def test_a_kept_block_is_read_back_whole(tmp_path: Path, world: World, blocks: list[Block]) -> None:
    made = sketched.sketch_block(world, blocks[1], tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    again = sketched.sketch_block(world, blocks[1], tmp_path)
    assert made.events.tobytes() == again.events.tobytes()
    assert made.attributes.tobytes() == again.attributes.tobytes()
    assert made.truth == again.truth
    assert np.array_equal(made.harvest, again.harvest)


def test_without_configuration_only_the_settings_go(whole: Sketched) -> None:
    blind = without_configuration(whole).events
    assert whole.events["configuration"].any()
    assert not blind["configuration"].any()
    assert np.array_equal(blind["client"], whole.events["client"])


def test_an_evaluation_tells_its_seeds_and_adds_up(tmp_path: Path) -> None:
    references = bootstrap.load_references(bootstrap.load_settings())
    lines: list[str] = []
    plan = Plan(
        seeds=(7,),
        recipes=("synthesis-heavy",),
        honest=20,
        days=1,
        lead_days=0,
        crowds=(),
        partitions=1,
        baselines=True,
        cache=tmp_path,
    )
    result = Evaluator(plan, CONFIG, references, lines.append).run()
    assert result.tuned_on == [7]
    assert [variant.name for variant in result.variants] == [MAIN, WITHOUT_CONFIGURATION]
    assert result.variants[0].summary.campaigns == 1
    assert {each.method for each in result.baselines} == {"river-hst", "prada", "seat", "mmd"}
    assert lines
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(result))
    assert page.recipe_rows(page.read_result(tmp_path / "result.json"))[0][0] == "synthesis-heavy (held out)"


def test_poisoning_is_judged_with_caps_and_without() -> None:
    references = bootstrap.load_references(bootstrap.load_settings())
    assert references is not None
    plan = Plan(seeds=(8,), honest=20, days=2, lead_days=1, crowds=(), partitions=1)
    rows = Poisoning(plan, CONFIG, references, lambda _: None).run([0.3])
    assert [row.caps for row in rows] == [True, False]
    for row in rows:
        assert 0.1 < row.share_seen < 0.6
        assert row.attackers >= 12
        assert row.covered <= row.attackers


def alert(key: str, hours: float, members: dict[str, float], kind: str = "alert") -> Alert:
    moment = np.datetime_as_string(np.datetime64(round(START + hours * 3_600_000), "ms"), "ms") + "Z"
    return Alert(
        alert_id=key,
        revision=1,
        kind=kind,  # type: ignore[arg-type] - one of the two
        lane="pool",
        subject_kind="campaign",
        subject="0" * 16,
        event_time=moment,
        updated_time=moment,
        score=4.0,
        severity="high",
        confidence=0.9,
        title="",
        requests=1,
        contributions=[],
        members=[
            Member(account=name, customer=name, requests=3, strength=strength, since=moment)
            for name, strength in members.items()
        ],
        findings=[],
        config_version="",
    )


def test_a_run_is_judged_by_who_is_named_and_when(whole: Sketched) -> None:
    attackers = sorted(account for account, row in whole.truth.items() if row["campaign"])
    honest = sorted(account for account, row in whole.truth.items() if not row["campaign"] and not row["licensed"])
    judged = judge(
        [
            alert("a", 12, dict.fromkeys(attackers[:4], 0.9) | {honest[0]: 0.7, honest[1]: 0.4}),
            alert("b", 13, {honest[2]: 0.8}),
            alert("c", 14, {honest[3]: 0.8}, kind="verification_request"),
        ],
        whole,
        START,
        START,
        START + DAY_MS,
    )
    row = judged.campaigns[0]
    assert (row.found, row.asked, row.covered, row.named, row.named_guilty) == (True, False, 4, 5, 4)
    harvest = whole.events["time"][whole.harvest]
    assert row.requests_to_first == int((harvest < START + 12 * 3_600_000).sum())
    assert row.share_after == pytest.approx(1 - row.requests_to_first / len(harvest), abs=1e-4)
    assert (judged.touched, judged.asked, judged.false_incidents, judged.false_questions) == (2, 1, 1, 1)
    assert judged.licensed_touched == 0


def test_baselines_count_every_account_once(whole: Sketched) -> None:
    for result in run_baselines(whole, START + DAY_MS // 2):
        assert result.attackers == 8
        assert 0 <= result.flagged <= result.attackers
        assert 0 <= result.honest_flagged <= result.honest


def test_each_ablation_changes_one_lane() -> None:
    base = msgspec.to_builtins(DetectionConfig())
    found = dict(ablations(DetectionConfig()))
    assert {"without accounts", "without pools"} <= found.keys()
    for config in found.values():
        changed = [name for name, value in msgspec.to_builtins(config).items() if value != base[name]]
        assert len(changed) == 1
