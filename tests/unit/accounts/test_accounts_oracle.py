"""The step against an oracle that knows only dicts, sets and Python's own integers, one request after the other."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.accounts.counting import COINCIDENCE_MS, COINCIDENCE_SAMPLE
from detection.accounts.step import FOREST_KEY, PROBES_KEY, AccountsStep
from detection.columns import CUES, Flag
from detection.families import Family
from detection.features.accounts import NAMES, account_features, scaled
from detection.features.catalogue import ACCOUNT_FEATURES
from detection.ids import combine, mix
from detection.state.rows import ACCOUNT_ROW, COUNTERS, FLAG_COUNTERS
from detection.state.store import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig


def fixed(value: int) -> int:
    return round(math.log1p(value) * 1024)


def offer(value: int, m: int) -> tuple[int, int]:
    mixed = int(mix(np.array([value], np.uint64))[0])
    return mixed % m, 54 - (mixed >> 11).bit_length()


def distinct(values: set[int], m: int) -> float:
    registers: dict[int, int] = defaultdict(int)
    for place, rank in (offer(value, m) for value in values):
        registers[place] = max(registers[place], rank)
    empty = m - len(registers)
    if empty == m:
        return 0.0
    sigma: float = empty / m + sum((empty / m) ** (2**k) * 2 ** (k - 1) for k in range(1, 30))
    rest: float = sum(2.0**-rank for rank in registers.values())
    estimated: float = m * m / (2 * math.log(2)) / (m * sigma + rest)
    return estimated


def moments(event: Any) -> list[tuple[Family, list[int]]]:
    """Keys of lane G: the prompt with each of the two windows that its time lies in, 0 where it is not looked at."""
    turn = int(event["last_turn"])
    mixed = int(mix(np.array([turn], np.uint64))[0])
    looked_at = turn * (event["prefix"][0] > 0 and mixed % COINCIDENCE_SAMPLE == 0)
    return [
        (Family.COINCIDENCE, [looked_at, (int(event["time"]) + shift) // COINCIDENCE_MS * 2 + (shift > 0)])
        for shift in (0, COINCIDENCE_MS // 2)
    ]


@dataclass
class Account:
    """All of an account's requests, kept."""

    events: list[Any] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    place: tuple[int, int] = (0, 0)  # The last network and configuration that were named together.
    counters: Counter[str] = field(default_factory=Counter)
    gaps: list[int] = field(default_factory=list)

    def place_of(self, event: Any) -> list[int]:
        """Give network and configuration; of a refused call that names no network, those of the account's last one."""
        here = int(event["network"]), int(event["configuration"])
        self.place = here if all(here) else self.place
        return list(self.place if int(event["flags"]) & Flag.REJECTED and not here[0] else here)


@dataclass
class Oracle:
    config: DetectionConfig
    attributes: dict[int, Any]
    accounts: dict[int, Account] = field(default_factory=lambda: defaultdict(Account))
    contributions: dict[tuple[int, ...], dict[str, Any]] = field(default_factory=dict)
    windows: dict[tuple[int, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    latest: int = -1
    closed: int = -1
    began: int = -1

    def apply(self, event: Any) -> None:
        clocking, pools = self.config.clocking, self.config.pools
        time, flags = int(event["time"]), int(event["flags"])
        self.began = time if self.began < 0 else self.began
        self.latest = max(self.latest, time)
        self.closed = max(self.closed, (self.latest - clocking.lateness_ms) // clocking.hop_ms - 1)
        hop = max(time // clocking.hop_ms, self.closed + 1)
        number = int(event["account"])
        account = self.accounts[number]
        before = len(account.events)
        gap = abs(time - int(account.events[-1]["time"])) if before else 0
        known = self.attributes.get(number)
        created = int(known["created_at"]) if known is not None else 0
        account.events.append(event)
        first_seen = int(account.events[0]["time"])
        young = (
            time - created < pools.young_ms
            if created
            else (time - first_seen < pools.young_ms and time - self.began > pools.young_ms)
        )
        boundaries = [int(one) for one in event["boundaries"]]
        continued = bool(flags & Flag.MULTI_TURN) and bool(set(boundaries[:-1]) & set(account.prompts[-8:]) - {0})
        account.prompts.append(boundaries[-1])
        counted = Counter({name: flags >> bit & 1 for bit, name in enumerate(FLAG_COUNTERS)})
        late = time // clocking.hop_ms < hop
        burst = before > 0 and gap < 1000
        counted.update({"requests": 1, "young": young, "bursts": burst, "continued": continued, "late": late})
        account.counters.update(counted)
        account.gaps += [gap] * (before > 0)
        window = self.windows[hop, number]
        window.update({"requests": 1, "errors": counted["errors"], "late": late})
        window.update({"input_tokens": int(event["input_tokens"]), "output_tokens": int(event["output_tokens"])})

        organization = int(event["organization"]) or (int(known["organization"]) if known is not None else 0)
        payment = int(known["payment"]) if known is not None else 0
        multi = account.counters["multi_turn"]
        telling = created > 0 or first_seen - self.began >= pools.cohort_ms
        cohort = (created or first_seen) // pools.cohort_ms if telling else 0
        shared = {
            Family.SYSTEM: [event["system"]],
            Family.PREFIX_8: [event["prefix"][0]],
            Family.PREFIX_16: [event["prefix"][1]],
            Family.PREFIX_32: [event["prefix"][2]],
            Family.SUFFIX_8: [event["suffix"][0]],
            Family.CONFIGURATION: [event["configuration"]],
            Family.CONFIGURATION_CLIENT: [event["configuration"], event["client"]],
            Family.CONFIGURATION_SINGLE_TURN: [event["configuration"] * (before >= 2 and 10 * multi <= before + 1)],
            Family.CONFIGURATION_YOUNG: [event["configuration"] * young],
            Family.CONFIGURATION_COHORT: [event["configuration"], cohort],
            Family.NETWORK: [event["network"]],
            Family.ADDRESS: [event["address"]],
            Family.NETWORK_CONFIGURATION: account.place_of(event),
            Family.PAYMENT: [payment],
        }
        minute = time // 60_000 % 1440
        projection = [int(one) for one in event["projection"]]
        log_output = fixed(int(event["output_tokens"]))
        sums = {
            "requests": 1,
            "young": int(young),
            "refusals": counted["refusals"],
            "echoes": counted["echoes"],
            "logprobs": counted["logprobs"],
            "bursts": int(burst),
            "continued": int(continued),
            "multi_turn": counted["multi_turn"],
            "tools": counted["tools"],
            "errors": counted["errors"],
            "rejected": counted["rejected"],
            "hour_sine": round(1024 * math.sin(2 * math.pi * minute / 1440)),
            "hour_cosine": round(1024 * math.cos(2 * math.pi * minute / 1440)),
            "log_input": fixed(int(event["input_tokens"])),
            "log_output": log_output,
            "log_output_squared": log_output**2,
            "output_tokens": int(event["output_tokens"]),
            "projection_squared": sum(one * one for one in projection),
            **{f"cues {place}": int(bool(flags & cue)) for place, cue in enumerate(CUES)},
            **{f"projection {place}": one for place, one in enumerate(projection)},
        }
        for family, values in [*shared.items(), *moments(event)]:
            if not all(int(value) for value in values):
                continue
            columns = [np.array([int(value)], np.uint64) for value in (family, *values)]
            key = (hop, int(family), int(combine(*columns)[0]), organization or number, number)
            row = self.contributions.setdefault(
                key, {"sums": Counter(), "turns": {}, "responses": {}, "before": before}
            )
            row["sums"].update(sums)
            linked = family == Family.COINCIDENCE
            row.update(
                after=before + 1,
                first_seen=first_seen,
                created=created,
                payment=int(event["last_turn"]) if linked else payment,
            )
            row["network"] = int(event["last_turn"]) if linked else max(row.get("network", 0), int(event["network"]))
            row["verified"] = int(known["verified"]) if known is not None else 0
            for name, column, m in (("turns", "last_turn", 128), ("responses", "response", 64)):
                if value := int(event[column]):
                    place, rank = offer(value, m)
                    row[name][place] = max(row[name].get(place, 0), rank)

    def features(self, account: Account) -> dict[str, float]:
        c, events = account.counters, account.events
        n = c["requests"]
        seen, answered = n - c["text_unavailable"], n - c["errors"]
        times = [int(event["time"]) for event in events]
        outputs = [fixed(int(event["output_tokens"])) for event in events]
        inputs = sum(fixed(int(event["input_tokens"])) for event in events)
        templates = [int(event["prefix"][1]) for event in events if event["prefix"][1]]
        tokens = sum(int(event["output_tokens"]) for event in events)
        reasoning = sum(int(event["reasoning_tokens"]) for event in events)
        hours = Counter(time // 3_600_000 % 24 for time in times)
        cells = {tuple((event["projection"][:8] > 0).tolist()) for event in events if event["projection"][:8].any()}

        def share(part: float, whole: float) -> float:
            return part / whole if whole > 0 else math.nan

        def sketched(name: str, m: int) -> float:
            return distinct({int(event[name]) for event in events} - {0}, m)

        reused = distinct(set(templates), 32)
        return {
            "token_yield": math.log1p(tokens / n),
            "mean_output": share(sum(outputs) / 1024, answered),
            "output_input_ratio": share((sum(outputs) - inputs) / 1024, answered),
            "output_spread": statistics.pstdev(outputs) / 1024 if n > 1 else math.nan,
            "reasoning_share": min(share(reasoning, tokens), 1.0) if tokens else math.nan,
            "distinct_turns": min(share(sketched("last_turn", 128), seen), 1.0) if seen else math.nan,
            "repeated_turns": max(1 - share(sketched("last_turn", 128), seen), 0.0) if seen else math.nan,
            "distinct_responses": min(share(sketched("response", 64), answered), 1.0) if answered else math.nan,
            "top_template": share(max(Counter(t >> 32 & 31 for t in templates).values(), default=0), seen),
            "template_reuse": math.log(max(max(seen, 1) / max(reused, 1), 1)) if reused else math.nan,
            "hour_entropy": -sum(k / n * math.log(k / n) for k in hours.values()),
            "burst_share": share(c["bursts"], n - 1),
            "gap_variability": statistics.pstdev(map(fixed, account.gaps)) / 1024 if n > 2 else math.nan,
            "rate": math.log(n / (1 + (max(times) - times[0]) / 3_600_000)),
            "logprob_share": c["logprobs"] / n,
            "bias_vectors": math.log1p(sketched("bias", 32)),
            "choices_share": c["many_choices"] / n,
            "refusal_share": share(c["refusals"], seen),
            "echo_share": share(c["echoes"], seen),
            **{f"cue_{cue}": share(c[f"cues_{cue}"], seen) for cue in ("reasoning", "synthesis", "grading")},
            **{f"cue_{cue}": share(c[f"cues_{cue}"], seen) for cue in ("boundary", "identity")},
            "coverage": len(cells) / min(seen, 256) if seen else math.nan,
            "continuation": share(c["continued"], seen),
        }


def told(row: Any) -> dict[str, Any]:
    sums = {
        name: int(row[name])
        for name in (
            "requests",
            "young",
            "refusals",
            "echoes",
            "logprobs",
            "bursts",
            "continued",
            "multi_turn",
            "tools",
            "errors",
            "rejected",
            "hour_sine",
            "hour_cosine",
            "log_input",
            "log_output",
            "log_output_squared",
            "output_tokens",
            "projection_squared",
        )
    }
    sums |= {f"cues {place}": int(one) for place, one in enumerate(row["cues"])}
    sums |= {f"projection {place}": int(one) for place, one in enumerate(row["projection"])}
    return {
        "sums": sums,
        "before": int(row["account_requests_before"]),
        "after": int(row["account_requests"]),
        "first_seen": int(row["first_seen"]),
        "created": int(row["created_at"]),
        "payment": int(row["payment"]),
        "network": int(row["network"]),
        "verified": int(row["verified"]),
        "turns": {place: int(rank) for place, rank in enumerate(row["residuals"]) if rank},
        "responses": {place: int(rank) for place, rank in enumerate(row["responses"]) if rank},
    }


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 90))
def test_the_step_agrees_with_the_oracle(
    seed: int,
    count: int,
    config: DetectionConfig,
    attributes: StructuredArray,
    random_events: Callable[[int, int], StructuredArray],
) -> None:
    events = random_events(seed, count)
    oracle = Oracle(config, {int(row["account"]): row for row in attributes})
    for event in events:
        oracle.apply(event)
    step = AccountsStep(config, None, 0)
    step.apply_attributes(attributes, np.arange(3))
    step.apply(events, np.arange(count))
    outcome = step.take()

    keys = ("hop", "family", "pool", "customer", "account")
    found = {tuple(int(row[key]) for key in keys): told(row) for row in outcome.contributions.written_out()}
    assert found == {key: row | {"sums": dict(row["sums"])} for key, row in oracle.contributions.items()}

    names = ("requests", "input_tokens", "output_tokens", "errors", "late")
    windows = {(int(w["hop"]), int(w["account"])): {name: int(w[name]) for name in names} for w in outcome.windows}
    closed = {key: dict(window) for key, window in oracle.windows.items() if key[0] <= oracle.closed}
    assert windows == closed
    assert outcome.closed_hop == oracle.closed

    rows = read_rows([value for key, value in zip(*step.dirty(), strict=True) if key not in {FOREST_KEY, PROBES_KEY}])
    rows = rows[rows["requests"] > 0]
    assert {int(row["account"]) for row in rows} == set(oracle.accounts)
    assert outcome.late == sum(account.counters["late"] for account in oracle.accounts.values())
    matrix = account_features(rows)
    for row, values in zip(rows, matrix, strict=True):
        account = oracle.accounts[int(row["account"])]
        assert {name: int(row[name]) for name in COUNTERS} == {name: account.counters[name] for name in COUNTERS}
        expected = oracle.features(account)
        for name, value in zip(NAMES, values.tolist(), strict=True):
            assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-6, nan_ok=True), name


def test_every_source_in_the_catalogue_is_a_field_of_the_row() -> None:
    fields = set(ACCOUNT_ROW.names or ())
    for feature in ACCOUNT_FEATURES:
        assert set(feature.source.split(", ")) <= fields, feature.name
    assert len({feature.name for feature in ACCOUNT_FEATURES}) == len(ACCOUNT_FEATURES)


def test_scaling_keeps_to_the_catalogue_and_missing_is_zero() -> None:
    matrix = np.full((3, len(NAMES)), math.nan)
    matrix[1], matrix[2] = 1e9, -1e9
    assert scaled(matrix)[:, 0].tolist() == [0.0, 1.0, 0.0]
