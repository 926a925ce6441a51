"""Lane G: customers who share several prompts at a moment are linked, and four of them are one operator."""

from __future__ import annotations

from itertools import combinations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.config import DetectionConfig, LinkLane
from detection.ids import rfc3339
from detection.incidents.links import Links, LinkState
from detection.incidents.step import IncidentsStep
from detection.outcomes import Finding, Member

CONFIG = DetectionConfig()
HOP = 1_900_000
TIME = rfc3339(HOP * CONFIG.clocking.hop_ms)


def coincidence(prompt: int, customers: tuple[int, ...], hop: int = HOP) -> Finding:
    return Finding(
        finding_id=f"{prompt}-{hop}-{customers}",
        lane="link",
        detector="coincidence",
        family="coincidence",
        subject=f"{prompt:016x}",
        hop=hop,
        event_time=TIME,
        score=0.0,
        threshold=1.0,
        customers=len(customers),
        requests=len(customers),
        verified_share=0.0,
        young_share=0.0,
        evidence=[],
        members=[
            Member(account=f"{c:016x}", customer=f"{c:016x}", requests=1, strength=0.0, since=TIME) for c in customers
        ],
        config_version="test",
    )


def operator(prompts: int, customers: int = 4) -> list[Finding]:
    """Every prompt goes to two of the customers in turn."""
    pairs = list(combinations(range(1, customers + 1), 2))
    return [coincidence(100 * place + number, pair) for place, pair in enumerate(pairs) for number in range(prompts)]


def test_a_dispatcher_is_found_and_its_customers_are_named() -> None:
    (found,) = Links(CONFIG).close(HOP, operator(3))
    assert {int(member.customer, 16) for member in found.members} == {1, 2, 3, 4}
    assert all(member.strength > 0.5 for member in found.members)
    assert (found.lane, found.customers, found.score) == ("link", 4, 9.0)


def test_too_few_coincidences_too_small_a_component_and_one_prompt_again_and_again_are_nothing() -> None:
    assert Links(CONFIG).close(HOP, operator(2)) == []
    assert Links(CONFIG).close(HOP, operator(9, customers=3)) == []
    links = Links(CONFIG)
    repeated = [coincidence(7, pair) for pair in combinations(range(1, 6), 2)]
    assert [links.close(HOP + hop, repeated) for hop in range(20)] == [[]] * 20


def test_links_are_forgotten_after_the_window_and_above_the_limit() -> None:
    links = Links(CONFIG)
    links.close(HOP, operator(2))
    later = HOP + CONFIG.links.window_ms // CONFIG.clocking.hop_ms + 1
    assert links.close(later, [coincidence(1, (1, 2), later)]) == []
    assert list(links.state.pairs) == [f"{1:016x}{2:016x}"]
    small = Links(DetectionConfig(links=LinkLane(maximum_pairs=3)))
    small.close(HOP, operator(3))
    assert len(small.state.pairs) == 3


@settings(max_examples=40, deadline=None)
@given(st.permutations(operator(3, customers=5)))
def test_the_order_within_a_hop_changes_nothing(shuffled: list[Finding]) -> None:
    links, other = Links(CONFIG), Links(CONFIG)
    assert links.close(HOP, operator(3, customers=5)) == other.close(HOP, shuffled)
    encode = msgspec.msgpack.Encoder(order="deterministic").encode
    assert encode(links.state) == encode(other.state)
    restored = Links(CONFIG, msgspec.msgpack.decode(encode(links.state), type=LinkState))
    assert restored.close(HOP + 1, [coincidence(1, (1, 9))]) == links.close(HOP + 1, [coincidence(1, (1, 9))])


def test_the_step_turns_coincidences_into_one_alert_unless_the_lane_is_in_shadow() -> None:
    def run(config: DetectionConfig) -> IncidentsStep:
        step = IncidentsStep(config, 1, 1)
        for fact in operator(3):
            step.add(fact)
        step.closed("accounts", 0, HOP)
        step.closed("pools", 0, HOP)
        return step

    (alert,) = run(CONFIG).take()
    assert (alert.lane, alert.kind, alert.subject_kind, len(alert.members)) == ("link", "alert", "campaign", 4)
    assert alert.tags == ["AML.T0008.005", "AML.T0024.002", "AML.T0040", "LLM10:2025"]
    assert len(alert.clearing) == 3
    shadowed = run(DetectionConfig(links=LinkLane(shadow=True)))
    assert (shadowed.take(), shadowed.shadowed) == ([], 1)
