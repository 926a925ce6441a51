"""Keys change; customers stay who they are, and nobody without the key learns who is who."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.bootstrap import load_settings
from services.cli.main import main
from services.errors import ConfigurationError
from services.gateway.configuration import GatewayConfiguration
from services.gateway.identity import LINKED_FIELDS, Identity, load_identity
from services.gateway.keys import topic
from services.gateway.keys.guard import check_key_file
from services.gateway.keys.links import Seal, SealedLinks
from services.gateway.keys.ring import KeyRing, RingKey, parse_ring, write_ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - it opens nothing


def identities() -> tuple[Identity, Identity, Identity, SealedLinks]:
    """Before the change, while two keys overlap, and after it, with the mapping that the overlap left."""
    records: list[bytes] = []
    before = Identity(OLD, key_version=1)
    during = Identity(NEW, key_version=2, previous=Identity(OLD, key_version=1), linked=True)
    after = Identity(NEW, key_version=2, linked=True)
    secret = during.link_secret()
    assert secret is not None
    during.attach(SealedLinks(Seal(secret, 2), lambda _, sealed: records.append(sealed)))
    for field in sorted(LINKED_FIELDS):
        during.identifier(field, "sk-one")  # type: ignore[arg-type]  # each is a field
    mapping = SealedLinks(Seal(secret, 2))
    assert all(map(mapping.load, records))
    after.attach(mapping)
    return before, during, after, mapping


@pytest.mark.parametrize("field", sorted(LINKED_FIELDS))
def test_a_customer_keeps_its_id_across_the_change(field: Any) -> None:
    before, during, after, _ = identities()
    ids = {each.identifier(field, "sk-one") for each in (before, during, after)}
    assert len(ids) == 1


def test_a_customer_that_came_after_it_has_an_id_of_the_new_key() -> None:
    before, _, after, _ = identities()
    assert after.account("sk-two") == Identity(NEW).account("sk-two") != before.account("sk-two")


def test_where_and_what_are_keyed_anew_at_once() -> None:
    before, during, after, _ = identities()
    assert before.places("203.0.113.9") != during.places("203.0.113.9") == after.places("203.0.113.9")
    assert before.identifier("logit_bias", "x") != during.identifier("logit_bias", "x")
    texts = [each.text_key().hash("turn", b"text") for each in (before, during, after)]
    assert texts[0] != texts[1] == texts[2]


def test_a_second_change_links_to_the_first_id() -> None:
    before, _, after, _ = identities()
    third = Identity(b"t" * 32, key_version=3, previous=after, linked=True)
    assert third.account("sk-one") == before.account("sk-one")


def test_ids_made_before_the_mapping_came_are_forgotten() -> None:
    before, _, _, mapping = identities()
    after = Identity(NEW, key_version=2, linked=True)
    assert after.account("sk-one") != before.account("sk-one")
    after.attach(mapping)
    assert after.account("sk-one") == before.account("sk-one")


def test_a_server_whose_publisher_is_another_process_reads_the_mapping_and_tells_no_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, during, after, mapping = identities()
    plain = Identity(NEW, key_version=2)
    assert [each.rotated for each in (plain, during, after)] == [False, True, True]
    assert Identity(b"t" * 32, key_version=3, previous=after).rotated
    tries: list[bool] = []

    def attach(identity: Identity, _: Any, servers: str, *, tell: bool) -> None:
        tries.append(tell)
        assert servers == "broker:9092"
        if len(tries) == 1:
            raise topic.LinksError("no broker answers")
        identity.attach(mapping)

    monkeypatch.setattr(topic, "attach_links", attach)
    monkeypatch.setattr(topic, "_AGAIN_SECONDS", 0.0)
    fresh = Identity(NEW, key_version=2, linked=True)
    topic.follow_links(fresh, GatewayConfiguration(kafka_bootstrap_servers="broker:9092"))
    assert tries == [False, False]
    assert fresh.account("sk-one") == before.account("sk-one")


def test_the_mapping_is_sealed() -> None:
    sent: list[tuple[bytes, bytes]] = []
    links = SealedLinks(Seal(OLD, 2), lambda *pair: sent.append(pair))
    new, old = "00112233445566ff", "ffeeddccbbaa9988"
    links.remember("account", new, old)
    links.remember("account", new, old)
    assert len(sent) == len(links) == 1
    name, sealed = sent[0]
    for word in (new, old):
        assert word.encode() not in name + sealed
        assert bytes.fromhex(word) not in name + sealed
    assert not SealedLinks(Seal(NEW, 2)).load(sealed)
    assert not SealedLinks(Seal(OLD, 3)).load(sealed)
    assert not links.load(b"short")
    assert not links.load(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert links.holds(name)
    assert not SealedLinks(Seal(OLD, 3)).holds(name)
    again = SealedLinks(Seal(OLD, 2))
    assert again.load(sealed)
    assert again.find("account", new) == old
    assert again.find("payment", new) is None


def test_a_ring_is_text_and_back(tmp_path: Path) -> None:
    first = parse_ring(f"{SECRET}\n", 4)
    assert first == KeyRing(RingKey(4, SECRET.encode()))
    second = first.rotated(lambda size: b"\1" * size)
    assert (second.active.version, second.active.linked, second.previous) == (5, True, first.active)
    path = tmp_path / "key"
    write_ring(path, second)
    assert parse_ring(path.read_text(encoding="ascii"), 1) == second
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    assert parse_ring(second.text().replace("\n", ","), 1) == second
    assert SECRET not in repr(second)
    with pytest.raises(ConfigurationError, match="overlap"):
        second.rotated()
    third = second.retired()
    assert third == KeyRing(second.active)
    with pytest.raises(ConfigurationError, match="no key to retire"):
        third.retired()


@pytest.mark.parametrize(
    "text",
    [
        "short",
        f"1:{SECRET}\n2:{SECRET}",
        f"2:{SECRET}\nnonsense",
        f"3:{SECRET}\n2:{SECRET}\n1:{SECRET}",
        f"70000:{SECRET}",
    ],
)
def test_a_ring_that_cannot_be_is_told_without_its_secrets(text: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        parse_ring(text, 1)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("mode", "folder", "closed"),
    [(0o600, 0o755, True), (0o644, 0o700, True), (0o644, 0o755, False), (0o620, 0o700, False)],
)
def test_a_key_file_is_its_owners_alone(tmp_path: Path, mode: int, folder: int, *, closed: bool) -> None:
    path = tmp_path / "inner" / "hmac.key"
    path.parent.mkdir()
    path.write_text(SECRET, encoding="ascii")
    path.chmod(mode)
    path.parent.chmod(folder)
    if closed:
        check_key_file(path)
    else:
        with pytest.raises(ConfigurationError, match="chmod 600"):
            check_key_file(path)


def kms(tenant: str) -> str:
    """A hook, as an operator's module would have one."""
    return f"9:{SECRET}{tenant}"


def test_a_kms_gives_the_ring(tmp_path: Path) -> None:
    source = f"{__name__}:kms"
    made = load_identity(GatewayConfiguration(base_dir=tmp_path, tenant="acme", key_source=source))
    assert made.key_version == 9
    assert made.account("x") == Identity(f"{SECRET}acme".encode(), "acme").account("x")
    with pytest.raises(ConfigurationError, match="STILLWATCH_KEY_SOURCE"):
        load_identity(GatewayConfiguration(base_dir=tmp_path, key_source="no.such.module:thing"))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A base directory, and no setting of another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path / "base"))
    for name in ("STILLWATCH_HMAC_KEY", "STILLWATCH_HMAC_KEY_FILE", "STILLWATCH_KEY_SOURCE", "STILLWATCH_KEY_VERSION"):
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()
    yield tmp_path / "base"
    load_settings.cache_clear()


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    load_settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main(["keys", *arguments])
    assert ended.value.code == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_the_commands_rotate_and_retire_a_key_file(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "key 1 (active)" in run(capsys, "status")
    secret = (alone / "hmac.key").read_text(encoding="ascii").strip()
    told = run(capsys, "rotate")
    assert "key 2 (active)" in told
    assert "key 1 (overlap)" in told
    during = load_identity(load_settings())
    assert (during.key_version, during.account("sk-1")) == (2, Identity(secret.encode()).account("sk-1"))
    assert "still overlap" in run(capsys, "rotate", code=1)
    rows = json.loads(run(capsys, "retire", "--json"))["keys"]
    assert [(row["state"], row["version"], row["linked"]) for row in rows] == [("active", 2, True)]
    kept = (alone / "hmac.key").read_text(encoding="ascii")
    assert secret not in kept
    assert secret not in told
    assert kept.split(":")[1].split()[0] not in told
    assert "no key to retire" in run(capsys, "retire", code=1)


def test_keys_in_the_environment_are_rotated_where_they_are(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("STILLWATCH_HMAC_KEY", SECRET)
    assert "STILLWATCH_HMAC_KEY" in run(capsys, "rotate", code=1)
    path = tmp_path / "elsewhere"
    path.write_text(SECRET, encoding="ascii")
    path.chmod(0o600)
    assert "key 2 (active)" in run(capsys, "rotate", "--file", str(path))
    monkeypatch.delenv("STILLWATCH_HMAC_KEY")
    monkeypatch.setenv("STILLWATCH_HMAC_KEY_FILE", str(path))
    assert "key 1 (overlap)" in run(capsys, "status")
    assert "key 2 (active)" in run(capsys, "retire")
    assert "cannot be read" in run(capsys, "rotate", "--file", str(tmp_path / "missing"), code=1)
    monkeypatch.setenv("STILLWATCH_KEY_SOURCE", "some.kms:keys")
    assert "STILLWATCH_KEY_SOURCE" in run(capsys, "rotate", code=1)
