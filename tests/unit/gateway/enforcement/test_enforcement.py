"""Decisions at a gateway: what is believed, what holds, and what becomes of a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.ids import rfc3339
from detection.policy.ladder import RUNGS, Limits, Trim
from schemas.decision import Decision
from services.adapters.signatures import Signer, Verifier
from services.gateway.enforcement.cache import DecisionCache
from services.gateway.enforcement.enforcer import DecisionEnforcer, NotLoadedError
from services.gateway.enforcement.limiting import Limiter
from services.gateway.enforcement.stream_feed import events
from services.gateway.enforcement.trimming import trimmed
from services.gateway.middleware.enforcing import Action, Asked
from services.gateway.publishing.counts import RULINGS, Counts
from services.gateway.routes import APIS

if TYPE_CHECKING:
    from services.gateway.routes import Api

NOW = 1_700_000_000_000
DAY = 86_400_000
TENANT = "acme"
SIGNER, STRANGER = Signer(bytes(32)), Signer(bytes([7]) * 32)
ACCOUNT, OTHER, OWNER = "1" * 16, "2" * 16, "f" * 16
LIMITS = Limits(requests_per_minute=6, concurrency=2, shared_requests_per_hour=3600)
TRIM = Trim(logprobs=False, logit_bias=False, reasoning=False, n=1, max_tokens=512)


def decision(**changes: Any) -> Decision:
    told: dict[str, Any] = {
        "decision_id": "d1",
        "subject_kind": "account",
        "subject": ACCOUNT,
        "members": [],
        "action": "block",
        "limits": LIMITS,
        "trim": TRIM,
        "reason_codes": ["lane.pool"],
        "evidence_id": "a" * 16,
        "issued_at": rfc3339(NOW),
        "effective_at": rfc3339(NOW),
        "expires_at": rfc3339(NOW + DAY),
        "dry_run": False,
        "sequence": 7,
        "key_id": "",
        "signature": "",
    }
    return Decision(**(told | changes))


def signed(signer: Signer = SIGNER, tenant: str = TENANT, **changes: Any) -> bytes:
    return signer.sign(decision(**changes), tenant)


class Hands:
    """A clock that a test moves; seconds since the start."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return NOW + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class Still:
    """A follower that a test speaks for."""

    def __init__(self) -> None:
        self.loaded = True
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


class Gate:
    """An enforcer with its clock and its follower."""

    def __init__(self, **options: Any) -> None:
        self.cache = DecisionCache(Verifier([SIGNER.public], TENANT))
        self.clock, self.follower, self.counts = Hands(), Still(), Counts()
        self.enforcer = DecisionEnforcer(self.cache, self.follower, self.counts, self.clock, **options)

    def told(self, **changes: Any) -> str:
        return self.cache.take(signed(**changes), self.clock.now_ms())

    def ask(self, account: str = ACCOUNT, organization: str = "", api: Api = "chat") -> Action | None:
        return self.enforcer.decide(Asked(account, organization, api))


def status(action: Action | None) -> int | None:
    return action.refusal.status if action is not None and action.refusal is not None else None


def test_forged_foreign_broken_expired_and_replayed_decisions_are_refused_and_change_nothing() -> None:
    gate = Gate()
    assert gate.told(action="throttle") == "applied"
    fields = json.loads(signed(sequence=8, action="allow"))
    cases = {
        "forged": json.dumps(fields | {"action": "block"}).encode(),
        "unknown_key": signed(STRANGER, sequence=9),
        "unreadable": b"{}",
        "replayed": signed(action="block", sequence=7),
        "expired": signed(subject=OTHER, sequence=9, expires_at=rfc3339(NOW)),
    }
    for outcome, raw in cases.items():
        assert gate.cache.take(raw, NOW) == outcome, outcome
    assert gate.cache.take(signed(tenant="other", sequence=9), NOW) == "forged"
    assert gate.cache.take(signed(sequence=9, expires_at="tomorrow"), NOW) == "unreadable"
    ruling = gate.cache.ruling(ACCOUNT, "", NOW)
    assert ruling is not None
    assert ruling.decision.action == "throttle"


def test_an_older_decision_does_not_come_back_after_the_newer_one_has_ended() -> None:
    gate = Gate()
    gate.told(sequence=3, action="observe", expires_at=rfc3339(NOW + 1000))
    gate.clock.seconds = 2.0
    assert gate.cache.prune(gate.clock.now_ms()) == 1
    assert len(gate.cache) == 0
    assert gate.told(sequence=2, action="block") == "replayed"
    assert gate.ask() is None


def test_a_decision_holds_from_its_moment_to_before_its_end() -> None:
    gate = Gate()
    gate.told(effective_at=rfc3339(NOW + 10_000), expires_at=rfc3339(NOW + 20_000))
    seen = []
    for second in (9.999, 10, 19.999, 20):
        gate.clock.seconds = second
        seen.append(status(gate.ask()))
    assert seen == [None, 403, 403, None]


def test_a_campaign_binds_its_members_and_its_next_record_replaces_them() -> None:
    gate = Gate()
    campaign = {"subject_kind": "campaign", "subject": "c" * 16}
    gate.told(**campaign, members=[ACCOUNT, OTHER])
    assert [status(gate.ask(each)) for each in (ACCOUNT, OTHER, "3" * 16)] == [403, 403, None]
    gate.told(**campaign, members=[OTHER, "3" * 16], sequence=8)
    assert [status(gate.ask(each)) for each in (ACCOUNT, OTHER, "3" * 16)] == [None, 403, 403]


def test_an_allow_wins_over_every_restriction_and_the_kill_switch_over_all() -> None:
    gate = Gate()
    gate.told()
    gate.told(subject_kind="campaign", subject="c" * 16, members=[ACCOUNT, OTHER])
    gate.told(subject_kind="organization", subject=OWNER, action="allow", limits=None, trim=None)
    assert status(gate.ask(ACCOUNT, OWNER)) is None
    assert status(gate.ask(ACCOUNT)) == 403
    gate.told(subject_kind="tenant", subject="tenant", action="allow", limits=None, trim=None)
    assert gate.ask(ACCOUNT) is None
    assert gate.ask(OTHER) is None
    gate.told(subject_kind="tenant", subject="tenant", action="observe", sequence=8, limits=None, trim=None)
    assert status(gate.ask(OTHER)) == 403


@given(st.permutations(RUNGS[1:]), st.booleans())
def test_the_strongest_restriction_holds_whatever_the_order_and_dry_runs_never(order: list[Any], dry: bool) -> None:
    gate = Gate()
    for place, action in enumerate(order):
        subject = {"subject_kind": "campaign", "subject": f"{place:016x}", "members": [ACCOUNT]}
        gate.told(**subject, action=action, dry_run=dry and action == "block")
    ruling = gate.cache.ruling(ACCOUNT, "", NOW)
    assert ruling is not None
    assert ruling.decision.action == ("challenge" if dry else "block")


def test_a_dry_run_is_counted_and_does_nothing() -> None:
    gate = Gate(headers=True)
    gate.told(dry_run=True)
    assert gate.ask() is None
    assert gate.counts.get(RULINGS, "block", "true") == 1


def test_refusals_tell_a_developer_what_to_do_and_show_themselves_only_where_asked() -> None:
    for headers in (False, True):
        gate = Gate(contact="trust@example.com", headers=headers)
        for action, code in (("block", "account_suspended"), ("challenge", "verification_required")):
            gate.told(action=action, sequence=10 + RUNGS.index(action) - headers)
            done = gate.ask() if action == "block" else None
            if done is None:
                gate = Gate(contact="trust@example.com", headers=headers)
                gate.told(action=action)
                done = gate.ask()
            assert done is not None
            assert done.refusal is not None
            assert done.refusal.code == code
            assert "trust@example.com" in done.refusal.message
            assert "d1" in done.refusal.message
            shown = ((b"x-stillwatch-decision", f"{action};id=d1".encode()),)
            assert done.headers == (shown if headers else ())


def test_a_throttle_counts_rate_concurrency_and_the_subjects_hour() -> None:
    gate = Gate()
    gate.told(action="throttle", trim=None)
    first, second = gate.ask(), gate.ask()
    assert first is not None
    assert second is not None
    assert first.finished is not None
    assert status(gate.ask()) == 429  # Two are open.
    first.finished()
    for _ in range(4):
        done = gate.ask()
        assert done is not None
        assert done.finished is not None
        done.finished()
    limited = gate.ask()  # Six in this minute.
    assert status(limited) == 429
    assert limited is not None
    assert limited.refusal is not None
    assert limited.refusal.retry_after_seconds == 10
    gate.clock.seconds = 10.0
    assert status(gate.ask()) is None


def test_a_campaigns_accounts_share_their_hour() -> None:
    limits = Limits(requests_per_minute=60, concurrency=9, shared_requests_per_hour=24)
    limiter = Limiter()
    let_in = [limiter.enter(f"{number:016x}", "c", limits, 0.0) is None for number in range(10)]
    assert let_in == [True] * 2 + [False] * 8
    wait = limiter.enter("a", "c", limits, 0.0)
    assert wait == pytest.approx(150)
    assert limiter.enter("a", "c", limits, 150.0) is None
    assert sum(limiter.enter(f"{number:016x}", "c", limits, 150.0 + 4 * 3600) is None for number in range(99)) == 24


def test_idle_buckets_are_forgotten() -> None:
    limiter = Limiter()
    for number in range(4096 * 2):
        account = f"{number:016x}"
        assert limiter.enter(account, account, LIMITS, float(number)) is None
        limiter.leave(account)
    assert len(limiter) < 4096 * 2
    limiter.leave("nobody")


def test_a_gateway_fails_open_until_told_otherwise_and_has_a_switch_of_its_own() -> None:
    for closed in (False, True):
        gate = Gate(fail_closed=closed)
        gate.follower.loaded = False
        if closed:
            with pytest.raises(NotLoadedError):
                gate.ask()
        else:
            assert gate.ask() is None
    off = Gate(switched_on=False)
    off.told()
    assert off.ask() is None
    off.enforcer.start()
    assert off.follower.running
    off.enforcer.stop()
    assert not off.follower.running


def test_an_observed_account_is_served_and_shown_where_asked() -> None:
    gate = Gate(headers=True)
    gate.told(action="observe", limits=None, trim=None)
    done = gate.ask()
    assert done is not None
    assert done.refusal is None
    assert done.headers == ((b"x-stillwatch-decision", b"observe;id=d1"),)


WANTS: dict[str, Any] = {
    "logprobs": True,
    "top_logprobs": 20,
    "logit_bias": {"5": 100},
    "n": 8,
    "best_of": 8,
    "thinking": {"type": "enabled", "budget_tokens": 9000},
    "reasoning": {"effort": "high", "summary": "detailed"},
    "include": ["reasoning.encrypted_content", "file_search_call.results"],
    "model": "m",
}


@pytest.mark.parametrize("api", APIS)
def test_a_trimmed_request_keeps_the_conversation_and_nothing_that_copies(api: Api) -> None:
    gate = Gate()
    gate.told(action="trim")
    done = gate.ask(api=api)
    assert done is not None
    assert done.transform is not None
    before = WANTS | {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9000}
    after = done.transform(before)
    assert before["n"] == 8  # The body that came is left alone.
    assert after["messages"] == before["messages"]
    assert (after["n"], after["best_of"], after["model"]) == (1, 1, "m")
    assert not {"logprobs", "top_logprobs", "logit_bias", "thinking"} & set(after)
    assert after["reasoning"] == {"effort": "high"}
    assert after["include"] == ["file_search_call.results"]


@pytest.mark.parametrize(
    ("api", "body", "cap"),
    [
        ("chat", {}, {"max_tokens": 512}),
        ("chat", {"max_completion_tokens": 9000}, {"max_completion_tokens": 512}),
        ("chat", {"max_tokens": 10}, {"max_tokens": 10}),
        ("chat", {"max_tokens": "many"}, {"max_tokens": 512}),
        ("responses", {"max_output_tokens": -1}, {"max_output_tokens": 512}),
        ("messages", {"max_tokens": True}, {"max_tokens": 512}),
        ("completions", {}, {"max_tokens": 512}),
        ("embeddings", {}, {}),
    ],
)
def test_the_length_is_capped_where_each_api_says_it(api: Api, body: dict[str, Any], cap: dict[str, int]) -> None:
    after = trimmed(body, TRIM, api)
    assert {name: value for name, value in after.items() if "max" in name} == cap


def test_what_a_trim_leaves_is_left() -> None:
    free = Trim(logprobs=True, logit_bias=True, reasoning=True, n=9, max_tokens=9999)
    assert trimmed(WANTS, free, "chat") == WANTS | {"max_tokens": 9999}


def test_server_sent_events_are_read_with_their_names_and_many_lines() -> None:
    lines = [
        b"retry: 500\n",
        b"\n",
        b": hello\n",
        b"id: 4\r\n",
        b"event: decision\r\n",
        b"data: a\n",
        b"data: b\n",
        b"\n",
    ]
    assert list(events(lines)) == [
        ("message", {"retry": b"500"}),
        ("decision", {"id": b"4", "event": b"decision", "data": b"a\nb"}),
    ]
