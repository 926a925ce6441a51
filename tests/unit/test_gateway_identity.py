from __future__ import annotations

import re
import stat
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from services.errors import ConfigurationError
from services.gateway.identity import Identity, load_identity, network_of, parse_address
from services.gateway.names import clean_name, client_family, error_type
from services.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"0123456789abcdef0123456789abcdef"


def test_ids_are_keyed_by_tenant_field_and_key() -> None:
    one = Identity(KEY)
    ids = {
        one.account("sk-1"),
        one.account("sk-2"),
        one.identifier("end_user", "sk-1"),
        Identity(KEY, tenant="other").account("sk-1"),
        Identity(KEY[::-1]).account("sk-1"),
    }
    assert len(ids) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", value) for value in ids)
    assert Identity(KEY).account("sk-1") == one.account("sk-1") == one.account("sk-1")
    assert one.identifier("payment", "") == ""


def test_an_id_is_what_it_was() -> None:
    assert Identity(KEY, "default").account("sk-1") == "e8978d48d3381de3"


def test_event_ids_frame_their_parts() -> None:
    one = Identity(KEY)
    assert one.event("ab", "c") != one.event("a", "bc")
    assert re.fullmatch("[0-9a-f]{32}", one.event("ab", "c"))


def test_long_and_broken_values_are_keyed() -> None:
    one = Identity(KEY)
    assert one.account("x" * 100_000) != one.account("x" * 100_001)
    assert len(one.account("\ud800")) == 16


@pytest.mark.parametrize(
    ("raw", "address", "network"),
    [
        ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.9:443", "203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::1", "fe80::/48"),
    ],
)
def test_addresses_and_their_networks(raw: str, address: str, network: str) -> None:
    found = parse_address(raw)
    assert found is not None
    assert (str(found), network_of(found)) == (address, network)


@pytest.mark.parametrize("raw", ["", "unknown", "127.0.0.1", "::1", "::", "300.1.1.1", "x" * 5000])
def test_what_is_no_clients_address_is_absent(raw: str) -> None:
    assert Identity(KEY).places(raw) == ("", "")


def test_neighbours_share_a_network_and_no_address() -> None:
    one = Identity(KEY)
    a, b = one.places("203.0.113.9"), one.places("203.0.113.10")
    assert a[1] == b[1]
    assert a[0] != b[0]
    assert a[0] != a[1]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="32 are wanted"):
        Identity(b"short")


def test_the_own_key_is_made_once_for_its_owner(tmp_path: Path) -> None:
    settings = Settings(base_dir=tmp_path / "new")
    first = load_identity(settings).account("sk-1")
    path = tmp_path / "new" / "hmac.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_identity(settings).account("sk-1") == first
    assert [found.name for found in path.parent.iterdir()] == ["hmac.key"]


def _account(base_dir: Path) -> str:
    return load_identity(Settings(base_dir=base_dir)).account("sk-1")


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    with get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_account, [tmp_path] * 6))) == 1


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Identity(KEY, "acme", 7).account("sk-1")
    monkeypatch.setenv("STILLWATCH_TENANT", "acme")
    monkeypatch.setenv("STILLWATCH_KEY_VERSION", "7")
    monkeypatch.setenv("STILLWATCH_HMAC_KEY", KEY.decode())
    found = load_identity(Settings())
    assert (found.account("sk-1"), found.key_version) == (expected, 7)
    monkeypatch.delenv("STILLWATCH_HMAC_KEY")
    (tmp_path / "key").write_bytes(KEY + b"\n")
    monkeypatch.setenv("STILLWATCH_HMAC_KEY_FILE", str(tmp_path / "key"))
    assert load_identity(Settings()).account("sk-1") == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("OpenAI/Python 1.2.3", "openai"),
        ("python-requests/2.32", "python-requests"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "mozilla"),
        ("", ""),
        ("sk-abcdef/1.0", "other"),
        ("jane.doe@example.com", "other"),
        ("203.0.113.9", "other"),
        ("a" * 1000, "other"),
        ("4f3c2b1a4f3c2b1a4f3c2b1a", "other"),
    ],
)
def test_client_families(raw: str, expected: str) -> None:
    assert client_family(raw) == expected


@pytest.mark.parametrize(
    ("raw", "passes"),
    [
        ("gpt-4o-mini", True),
        ("claude-3-5-sonnet-20241022", True),
        ("accounts/fireworks/models/llama-v3p1-405b-instruct", True),
        ("ft:gpt-3.5-turbo-0613:org::7p4lURel", True),
        ("claude-3-5-sonnet@20240620", True),
        ("gpt-4o please answer my question", False),
        ("sk-proj-1234", False),
        ("jane.doe@example.com", False),
        ("m-123456789012", False),
        ("", True),
    ],
)
def test_names_pass_where_they_look_like_names(raw: str, *, passes: bool) -> None:
    assert clean_name(raw) == (raw if passes else "other")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("429", "429"), ("RateLimitError", "RateLimitError"), ("", ""), ("my secret", "other"), ("9999", "other")],
)
def test_error_types(raw: str, expected: str) -> None:
    assert error_type(raw) == expected
