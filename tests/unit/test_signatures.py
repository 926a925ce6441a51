"""Signed decisions: only an issuer's key, this tenant and these very fields pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decision import Decision, Limits, signing_input
from services.adapters.signatures import RefusedRecordError, Signer, Verifier, load_signer, load_verifier
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SIGNER, OTHER = Signer(bytes(32)), Signer(bytes([1]) * 32)


def decision(**changes: Any) -> Decision:
    told: dict[str, Any] = {
        "decision_id": "d1",
        "subject_kind": "campaign",
        "subject": "a" * 16,
        "members": ["1" * 16, "2" * 16],
        "action": "throttle",
        "limits": Limits(requests_per_minute=6, concurrency=1, shared_requests_per_hour=10),
        "trim": None,
        "reason_codes": ["lane.pool"],
        "evidence_id": "a" * 16,
        "issued_at": "2026-01-02T03:04:05.000Z",
        "effective_at": "2026-01-02T03:04:05.000Z",
        "expires_at": "2026-01-09T03:04:05.000Z",
        "dry_run": False,
        "sequence": 7,
        "key_id": "",
        "signature": "",
    }
    return Decision(**(told | changes))


def refused(raw: bytes, verifier: Verifier) -> str:
    with pytest.raises(RefusedRecordError) as caught:
        verifier.read(raw)
    return caught.value.reason


def test_a_signed_record_is_read_and_several_keys_are_trusted_while_one_is_turned() -> None:
    both = Verifier([SIGNER.public, OTHER.public], "acme")
    for signer in (SIGNER, OTHER):
        read = both.read(signer.sign(decision(), "acme"))
        assert msgspec.structs.replace(read, key_id="", signature="") == decision()
        assert read.key_id == signer.key_id
    assert SIGNER.jitter_key != OTHER.jitter_key


def test_a_foreign_key_tenant_or_signature_is_refused() -> None:
    ours = Verifier([SIGNER.public], "acme")
    good = SIGNER.sign(decision(), "acme")
    assert refused(OTHER.sign(decision(), "acme"), ours) == "unknown_key"
    assert refused(SIGNER.sign(decision(), "other"), ours) == "forged"
    assert refused(good.replace(SIGNER.key_id.encode(), OTHER.key_id.encode()), Verifier([OTHER.public], "acme")) == (
        "forged"
    )
    assert refused(b"{", ours) == "unreadable"
    fields = json.loads(good)
    assert refused(json.dumps(fields | {"signature": "no hex"}).encode(), ours) == "unreadable"
    assert refused(json.dumps(fields | {"more": 1}).encode(), ours) == "unreadable"


CHANGES: dict[str, Any] = {
    "decision_id": "d2",
    "subject_kind": "account",
    "subject": "b" * 16,
    "members": ["1" * 16],
    "action": "block",
    "limits": None,
    "trim": {"logprobs": True, "logit_bias": True, "reasoning": True, "n": 9, "max_tokens": 9},
    "reason_codes": [],
    "evidence_id": "",
    "issued_at": "2027-01-02T03:04:05.000Z",
    "effective_at": "2027-01-02T03:04:05.000Z",
    "expires_at": "2027-01-02T03:04:05.000Z",
    "dry_run": True,
    "sequence": 8,
}


@given(st.sampled_from(sorted(CHANGES)))
def test_no_field_can_be_changed(name: str) -> None:
    fields = json.loads(SIGNER.sign(decision(), "acme"))
    assert set(CHANGES) == set(fields) - {"type", "key_id", "signature"}
    raw = json.dumps(fields | {name: CHANGES[name]}).encode()
    assert refused(raw, Verifier([SIGNER.public], "acme")) == "forged"


def test_the_signed_bytes_are_canonical_json_that_any_language_can_make() -> None:
    fields = msgspec.to_builtins(decision())
    del fields["signature"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert signing_input(decision(), "acme") == b"stillwatch/decision/v1\x00acme\x00" + canonical


def test_a_key_is_made_once_for_its_owner_and_settings_win(tmp_path: Path) -> None:
    made = load_signer(tmp_path / "base", None)
    assert load_signer(tmp_path / "base", None).public == made.public
    assert (tmp_path / "base" / "decision-signing.key").stat().st_mode & 0o777 == 0o600
    assert load_signer(tmp_path / "base", "00" * 32).public == SIGNER.public
    own = load_verifier(tmp_path / "base", None, "acme")
    assert own.read(made.sign(decision(), "acme")).decision_id == "d1"
    given_keys = load_verifier(tmp_path, f"{SIGNER.public.hex()}, {OTHER.public.hex()}", "acme")
    assert given_keys.read(OTHER.sign(decision(), "acme")).decision_id == "d1"


@pytest.mark.parametrize("secret", ["", "00", "zz" * 32])
def test_a_key_of_another_form_is_told(secret: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_signer(tmp_path, secret)
    with pytest.raises(ConfigurationError):
        load_verifier(tmp_path, secret or "no key", "acme")
