from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from detection.accounts.purposes import PURSUED
from detection.accounts.step import FOREST_KEY, PROBES_KEY, AccountsStep
from detection.columns import CONTRIBUTION, EVENT, Flag
from detection.config import Clocking, DetectionConfig
from detection.detectors.tail import certainty
from detection.families import Family
from detection.ids import to_hex
from detection.pools.routing import partition_of_pool, split_rows
from detection.state.rows import ACCOUNT_ROW, RowVersionError
from detection.state.store import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from detection.columns import StructuredArray
    from detection.detectors.reference import References
    from detection.outcomes import Finding

KEY = ("hop", "family", "pool", "customer", "account")
MINIMA = ("account_requests_before", "first_seen")
MAXIMA = ("verified", "account_requests", "created_at", "network", "payment", "residuals", "responses")
BEGIN = 1_760_000_000_000 // 60_000 * 60_000
MINUTE = 60_000
pytestmark = pytest.mark.filterwarnings("error")


@dataclass
class Run:
    """Everything that came out of a step, added up over its takes."""

    contributions: dict[tuple[int, ...], dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    windows: list[tuple[Any, ...]] = field(default_factory=list)
    late: int = 0
    state: dict[bytes, bytes] = field(default_factory=dict)
    meta: bytes = b""

    def collect(self, step: AccountsStep) -> None:
        outcome = step.take()
        rows = outcome.contributions.written_out()
        keys = [tuple(int(row[name]) for name in KEY) for row in rows]
        assert len(set(keys)) == len(keys)
        for key, row in zip(keys, rows, strict=True):
            names = [name for name in CONTRIBUTION.names or () if name not in KEY]
            held = self.contributions.get(key)
            if held is None:
                self.contributions[key] = {name: row[name].tolist() for name in names}
                continue
            for name in names:
                merge = np.minimum if name in MINIMA else np.maximum if name in MAXIMA else np.add
                held[name] = merge(held[name], row[name]).tolist()
        self.findings += outcome.findings
        self.windows += outcome.windows.tolist()
        self.late += outcome.late
        self.state |= dict(zip(*step.dirty(), strict=True))
        self.meta = step.meta()

    @property
    def sorted(self) -> tuple[Any, ...]:
        findings = sorted(self.findings, key=lambda finding: finding.finding_id)
        return self.contributions, findings, self.windows, self.late, self.state, self.meta


def play(
    step: AccountsStep, events: StructuredArray, *, cuts: Collection[int] = (), takes: Collection[int] = ()
) -> Run:
    run = Run()
    edges = sorted({0, len(events), *cuts, *takes})
    for start, stop in pairwise(edges):
        step.apply(events[start:stop], np.arange(start, stop) * 3)
        if stop in takes:
            run.collect(step)
    run.collect(step)
    return run


def at(*times: int, account: int = 5) -> StructuredArray:
    events = np.zeros(len(times), EVENT)
    events["time"] = BEGIN + np.array(times, np.int64)
    events["account"] = account
    events["configuration"] = 1
    return events


def hops(run: Run) -> Counter[int]:
    counted: Counter[int] = Counter()
    for (hop, family, *_), row in run.contributions.items():
        if family == Family.CONFIGURATION:
            counted[hop - BEGIN // MINUTE] += row["requests"]
    return counted


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    cuts=st.sets(st.integers(0, 120), max_size=8),
    takes=st.sets(st.integers(1, 120), max_size=5),
)
def test_neither_chunks_nor_takes_change_a_result(
    seed: int,
    count: int,
    cuts: set[int],
    takes: set[int],
    config: DetectionConfig,
    references: References,
    attributes: StructuredArray,
    random_events: Callable[[int, int], StructuredArray],
) -> None:
    events = random_events(seed, count)
    runs = []
    for chosen_cuts, chosen_takes in (
        (set(), set()),
        ({c for c in cuts if c < count}, {t for t in takes if t < count}),
    ):
        step = AccountsStep(config, references, 0)
        step.apply_attributes(attributes, np.arange(3))
        runs.append(play(step, events, cuts=chosen_cuts, takes=chosen_takes).sorted)
    assert runs[0] == runs[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 120), stop=st.floats(0, 1), replayed=st.integers(0, 20))
def test_a_restart_from_the_changelog_changes_nothing(
    seed: int,
    count: int,
    stop: float,
    replayed: int,
    config: DetectionConfig,
    references: References,
    random_events: Callable[[int, int], StructuredArray],
) -> None:
    events = random_events(seed, count)
    offsets = np.arange(count)
    middle = 1 + int(stop * (count - 2))
    whole = AccountsStep(config, references, 0)
    expected = play(whole, events, takes={middle})
    first = AccountsStep(config, references, 0)
    run = Run()
    first.apply(events[:middle], offsets[:middle] * 3)
    run.collect(first)
    second = AccountsStep(config, references, 0)
    second.load(list(run.state), list(run.state.values()))
    second.load_meta(run.meta)
    # What was applied before the restart comes again, and is skipped.
    again = max(middle - replayed, 0)
    second.apply(events[again:], offsets[again:] * 3)
    run.collect(second)
    assert run.sorted == expected.sorted


def test_the_random_streams_exercise_every_output(
    config: DetectionConfig,
    references: References,
    attributes: StructuredArray,
    random_events: Callable[[int, int], StructuredArray],
) -> None:
    step = AccountsStep(config, references, 0)
    step.apply_attributes(attributes, np.arange(3))
    run = play(step, random_events(1, 400))
    made_of_others = {int(Family.HANDOVER)}
    assert {key[1] for key in run.contributions} == {int(family) for family in Family} - made_of_others
    assert len(run.findings) > 3
    assert run.late > 5
    assert len({window[-1] for window in run.windows}) > 5
    for name in ("young", "bursts", "continued", "multi_turn", "echoes", "logprobs"):
        assert any(row[name] for row in run.contributions.values()), name


def test_a_hop_closes_at_the_request_that_passes_it(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    # Hop 0 ends at 60 s; with 20 s of lateness it closes when event time reaches 80 s, so 79.999 s is not enough.
    run = play(step, at(0, 79_999, 30_000, 80_000, 31_000))
    assert hops(run) == {0: 2, 1: 3}  # 31 s came after the close and counts in hop 1.
    assert run.late == 1
    assert [(window[2] - BEGIN // MINUTE, window[3]) for window in run.windows] == [(0, 2)]


def test_a_late_request_counts_everywhere(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    run = play(step, at(0, 200_000, 1_000, 300_000))
    # 200 s closes hops 0-2 less 20 s of lateness, that is up to hop 2 (180 s); the late one counts in hop 3.
    assert hops(run) == {0: 1, 3: 2, 5: 1}
    row = read_rows([run.state[b"0000000000000005"]])[0]
    assert (row["requests"], row["late"]) == (4, 1)
    late = {window[2] - BEGIN // MINUTE: window[7] for window in run.windows}
    assert late == {0: 0, 3: 1}


def test_a_heartbeat_closes_hops_and_is_skipped_when_it_comes_again(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    step.apply(at(0), np.array([10]))
    step.advance(BEGIN + 80_000, 10)
    assert step.take().closed_hop == BEGIN // MINUTE - 2
    step.advance(BEGIN + 80_000, 11)
    outcome = step.take()
    assert (outcome.closed_hop, outcome.windows["requests"].tolist()) == (BEGIN // MINUTE, [1])
    assert step.applied == 11
    step.advance(BEGIN + 10_000, 12)
    assert step.take().closed_hop == BEGIN // MINUTE


def test_youth_by_first_sight_needs_a_partition_that_has_watched(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    later = config.pools.young_ms + 10
    run = play(step, np.concatenate([at(0, account=5), at(later, later + 5, account=6), at(later + 9, account=5)]))
    young = {key[4] for key in run.contributions if key[1] == Family.CONFIGURATION_YOUNG}
    cohort = {key[4] for key in run.contributions if key[1] == Family.CONFIGURATION_COHORT}
    assert (young, cohort) == ({6}, {6})


def test_single_turn_accounts_leave_the_family_when_they_converse(config: DetectionConfig) -> None:
    events = at(*range(0, 24_000, 2_000))
    events["flags"][3] = 1 << 14
    run = play(AccountsStep(config, None, 0), events)
    single = [row for key, row in run.contributions.items() if key[1] == Family.CONFIGURATION_SINGLE_TURN]
    # Requests 1 and 2 are too few; 3 counts; from the fourth (1 in 4) to the ninth not; 10, 11 and 12 again (1 in 10).
    assert [row["requests"] for row in single] == [4]


@pytest.mark.parametrize("settings", [77, 0])
def test_a_purpose_is_told_with_the_settings_of_the_request_that_completes_a_milestone(
    config: DetectionConfig, references: References, settings: int
) -> None:
    step = AccountsStep(config, references, 0)
    events = at(*range(0, 20_000, 1_000))
    events["flags"] |= int(Flag.REFUSAL)
    events["configuration"] = 76
    events["configuration"][12] = settings
    step.apply(events, np.arange(len(events)))
    facts = [one for one in step.take().findings if one.detector == PURSUED and one.requests == 13]
    assert [one.subject for one in facts] == [to_hex(77)] * bool(settings)
    for fact in facts:
        assert {item.feature: item.actual for item in fact.evidence}["refusal_share"] == 1.0
        assert fact.score == 0.0


def test_milestones_are_read_at_exactly_their_count(config: DetectionConfig, references: References) -> None:
    step = AccountsStep(config, references, 0, collect=True)
    events = at(*range(0, 20_000, 1_000))
    events["output_tokens"] = 1000
    step.apply(events, np.arange(len(events)))
    outcome = step.take()
    assert [vectors.milestone for vectors in outcome.vectors] == [3, 5, 8, 13]
    yields = [np.log1p(1000) for _ in outcome.vectors]
    assert [float(vectors.matrix[0, 0]) for vectors in outcome.vectors] == pytest.approx(yields)
    # 3 lies under the floor of 5; for 13 there is no reference, so that of 8 speaks.
    found = [finding for finding in outcome.findings if finding.detector != PURSUED]
    assert [(finding.requests, finding.lane, finding.subject) for finding in found] == [
        (5, "account", "0000000000000005"),
        (8, "account", "0000000000000005"),
        (13, "account", "0000000000000005"),
    ]
    finding = found[0]
    assert finding.score > finding.threshold
    assert finding.evidence[0].weight == max(one.weight for one in finding.evidence)
    assert finding.members[0].strength == round(certainty(finding.score, finding.threshold), 4)
    assert step.take().findings == []


def test_without_references_there_are_no_findings(config: DetectionConfig) -> None:
    run = play(AccountsStep(config, None, 0), at(*range(0, 20_000, 1_000)))
    assert run.findings == []


def test_the_forest_learns_an_account_once_in_its_gap(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    play(step, at(*range(0, 10 * MINUTE, 10_000)))
    # Hops 0 to 8 are closed; with a gap of 2 the account is learned in 0, 2, 4, 6 and 8: a window of 5 is full.
    assert (step._forest.counter, step._forest._first_window) == (0, False)


def test_scores_come_before_learning(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    quiet = [at(hop * MINUTE, account=account) for hop in range(9) for account in (11, 12)]
    events = np.concatenate(quiet)
    events["output_tokens"] = 5000 * (events["account"] == 12)
    run = play(step, events)
    # Two accounts in every other hop: the fifth learned row ends the first window, and only the next row has a score.
    scored = [window[-1] > 0 for window in run.windows]
    assert scored[:9] == [False] * 9
    assert scored[9]


def test_attributes_hold_from_their_offset_on(config: DetectionConfig, attributes: StructuredArray) -> None:
    step = AccountsStep(config, None, 0)
    step.apply_attributes(attributes, np.arange(3))
    changed = attributes[:1].copy()
    changed["payment"] = 77
    step.apply_attributes(changed, np.array([2]))
    assert step.applied_attributes == 2
    step.apply_attributes(np.concatenate([changed, changed]), np.array([3, 4]))
    run = play(step, at(0, account=101))
    assert {row["payment"] for row in run.contributions.values()} == {77}
    assert {key[3] for key in run.contributions} == {7}  # The organisation of the attributes is the customer.
    assert {row["verified"] for row in run.contributions.values()} == {1}


def test_a_store_grows_and_keeps_its_rows(config: DetectionConfig) -> None:
    events = at(*[0] * 40_000)
    events["account"] = 1 + np.arange(40_000)
    step = AccountsStep(config, None, 0)
    run = play(step, events, cuts={100, 16_000, 20_000})
    assert step.accounts == 40_000
    rows = read_rows([value for key, value in run.state.items() if key not in {FOREST_KEY, PROBES_KEY}])
    assert sorted(rows["account"].tolist()) == list(range(1, 40_001))
    assert rows["requests"].tolist() == [1] * 40_000


def test_rows_of_an_unknown_version_are_refused() -> None:
    row = np.zeros(1, ACCOUNT_ROW)
    row["version"] = 99
    with pytest.raises(RowVersionError, match="version 99"):
        read_rows([row.tobytes()])


def test_more_open_hops_than_panes_are_refused() -> None:
    with pytest.raises(ValueError, match="lateness_ms"):
        AccountsStep(DetectionConfig(clocking=Clocking(hop_ms=1000, lateness_ms=1001)), None, 0)


def test_a_forest_of_another_seed_starts_afresh_and_says_so(config: DetectionConfig) -> None:
    run = play(AccountsStep(config, None, 0), at(*range(0, 10 * MINUTE, 10_000)))
    same, other = (AccountsStep(structs.replace(config, seed=seed), None, 0) for seed in (config.seed, 5))
    for step in (same, other):
        step.load(list(run.state), list(run.state.values()))
    assert (same.forest_restarted, other.forest_restarted) == (False, True)
    assert (same._forest._first_window, other._forest._first_window) == (False, True)


def test_contributions_come_in_the_order_of_their_owners(
    config: DetectionConfig,
    references: References,
    random_events: Callable[[int, int], StructuredArray],
) -> None:
    events = random_events(11, 200)
    whole, dealt = AccountsStep(config, references, 0), AccountsStep(config, references, 0)
    for step in (whole, dealt):
        step.apply(events, np.arange(200))
    copied = split_rows(whole.take().contributions, 5)
    sliced = split_rows(dealt.take(5).contributions, 5)
    for owner, (one, other) in enumerate(zip(copied, sliced, strict=True)):
        assert len(one.rows)
        assert len(one.singles)
        assert (partition_of_pool(other.written_out()["pool"], 5) == owner).all()
        assert one.rows.tobytes() == other.rows.tobytes()
        assert one.singles.tobytes() == other.singles.tobytes()


def test_an_empty_take_is_empty(config: DetectionConfig) -> None:
    step = AccountsStep(config, None, 0)
    outcome = step.take()
    assert (len(outcome.contributions), outcome.closed_hop, len(outcome.windows)) == (0, -1, 0)
    assert step.dirty() == ([], [])


def probes(account: int, vectors: int, *, tokens: int = 1) -> StructuredArray:
    events = at(*range(0, 1_000 * vectors, 1_000), account=account)
    events["bias"] = np.arange(1, vectors + 1)
    events["flags"] = int(Flag.LOGPROBS | Flag.LOGIT_BIAS)
    events["output_tokens"] = tokens
    return events


def test_a_probe_is_found_at_the_request_that_brings_the_last_vector() -> None:
    step = AccountsStep(DetectionConfig(), None, 0)
    step.apply(probes(5, 19), np.arange(19))
    assert step.take().findings == []
    keys, values = step.dirty()
    again = AccountsStep(DetectionConfig(), None, 0)
    again.load_meta(step.meta())
    again.load(keys, values)
    last = probes(5, 25)[19:]
    again.apply(last, np.arange(19, 25))
    (finding,) = again.take().findings
    assert (finding.lane, finding.requests, len(finding.members)) == ("probe", 20, 1)
    assert finding.members[0].strength > 0.9


def test_one_bias_many_times_or_answers_with_text_are_no_probe() -> None:
    step = AccountsStep(DetectionConfig(), None, 0)
    same, talking = probes(5, 60), probes(6, 60, tokens=40)
    same["bias"] = 7
    step.apply(same, np.arange(60))
    step.apply(talking, np.arange(60, 120))
    assert step.take().findings == []
