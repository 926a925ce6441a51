"""Raw identifiers to keyed ones: HMAC-SHA-256, cut to 64 bits, a domain for each tenant and field.

The same key value in two fields, or at two tenants, gives unrelated ids, so that nothing can be joined that was not
meant to be. Without the key an id cannot be tested against a guess.
"""

from __future__ import annotations

import hmac
import os
import secrets
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Literal, Protocol

from detection.ids import to_hex
from detection.text.keys import TextKey
from services.errors import ConfigurationError
from services.gateway.imports import import_named
from services.gateway.keys.guard import check_key_file
from services.gateway.keys.ring import MINIMUM_KEY_BYTES, parse_ring

if TYPE_CHECKING:
    from pathlib import Path

    from services.gateway.keys.links import Links
    from services.gateway.keys.ring import KeyRing

Field = Literal["account", "organization", "end_user", "payment", "address", "network", "logit_bias", "event"]
KEY_FILE: Final = "hmac.key"
# Who a customer is outlives a key; where a request came from and what it said does not (docs/decisions, key rotation).
LINKED_FIELDS: Final = frozenset(("account", "organization", "end_user", "payment"))
_CACHED: Final = 1 << 16
_CACHED_LENGTH: Final = 256


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class KeySettings(Protocol):
    """What of the settings speaks of keys; the gateway library has a configuration of its own, with the same names."""

    @property
    def base_dir(self) -> Path:
        """Where the key file is made where none is given."""

    @property
    def tenant(self) -> str:
        """Part of every identifier."""

    @property
    def hmac_key(self) -> _Secret | None:
        """The key itself."""

    @property
    def key_version(self) -> int:
        """Goes with every event where the key is a bare one."""

    @property
    def key_source(self) -> str:
        """module:function that gives the ring of a tenant, from a KMS for example."""


class Identity:
    """Makes the product's ids of one tenant under one key. Ids are 16 lower-case hexadecimal digits, "" for absent.

    Raises ConfigurationError where the key is shorter than 32 bytes. Its repr tells no key, and its caches hold raw
    values: it must not leave the gateway's process.
    """

    def __init__(
        self,
        key: bytes,
        tenant: str = "default",
        key_version: int = 1,
        *,
        previous: Identity | None = None,
        linked: bool = False,
    ) -> None:
        if len(key) < MINIMUM_KEY_BYTES:
            raise ConfigurationError(
                f"the identifier key has {len(key)} bytes; {MINIMUM_KEY_BYTES} are wanted",
                "Set STILLWATCH_HMAC_KEY to the output of `openssl rand -hex 32`.",
            )
        self.key_version = key_version
        self.previous = previous
        self._linked = linked
        self._links: Links | None = None
        self._tenant = hmac.digest(key, _domain("tenant", tenant), sha256)
        self._states: dict[str, hmac.HMAC] = {}
        # Caches on the instance: a key must not share them, and they end with it.
        self._remembered = lru_cache(maxsize=_CACHED)(self._name)
        self._places = lru_cache(maxsize=_CACHED)(self._find_places)

    def account(self, raw: str) -> str:
        """Give the product's id of a raw account value (what ``--id-map`` exports)."""
        return self.identifier("account", raw)

    def event(self, *parts: str) -> str:
        """Give the idempotency key of a record: 32 digits, the same for the same parts."""
        state = self._state("event")
        for part in parts:
            data = _bytes(part)
            state.update(len(data).to_bytes(8, "little") + data)
        return state.digest()[:16].hex()

    def link_secret(self) -> bytes | None:
        """Derive the secret that seals the mapping of this key's ids to older ones; None where there is no mapping."""
        return hmac.digest(self._tenant, b"links v1", sha256) if self._linked else None

    @property
    def rotated(self) -> bool:
        """Whether there is a mapping between ids of this key, or the one before, and older ones."""
        return any(each is not None and each.link_secret() is not None for each in (self, self.previous))

    def attach(self, links: Links) -> None:
        """Take the mapping: from now on customers that had an id under an older key keep it."""
        self._links = links
        self._remembered.cache_clear()

    def text_key(self) -> TextKey:
        """Derive the key of the sketches."""
        return TextKey(hmac.digest(self._tenant, b"text sketches v1", sha256))

    def identifier(self, field: Field, raw: str) -> str:
        """Key one raw value of ``field``; "" stays ""."""
        if not raw:
            return ""
        # Clients choose some of these: a cache of long ones would be their memory, not ours.
        return self._remembered(field, raw) if len(raw) <= _CACHED_LENGTH else self._name(field, raw)

    def places(self, raw: str) -> tuple[str, str]:
        """Key an address: (address, network of /24 or /48); ("", "") where it is none or says nothing of the client."""
        return self._places(raw[:_CACHED_LENGTH]) if raw else ("", "")

    def _name(self, field: Field, raw: str) -> str:
        own = self._hash(field, raw)
        if field not in LINKED_FIELDS:
            return own
        if self.previous is None:
            return (self._links.find(field, own) if self._links is not None else None) or own
        old = self.previous.identifier(field, raw)
        if self._links is not None:
            self._links.remember(field, own, old)
        return old

    def _hash(self, field: Field, raw: str) -> str:
        state = self._state(field)
        state.update(_bytes(raw))
        return to_hex(int.from_bytes(state.digest()[:8], "big") or 1)

    def _find_places(self, raw: str) -> tuple[str, str]:
        address = parse_address(raw)
        if address is None:
            return "", ""
        network = network_of(address)
        return self.identifier("address", str(address)), self.identifier("network", network)

    def _state(self, field: str) -> hmac.HMAC:
        state = self._states.get(field)
        if state is None:
            state = self._states[field] = hmac.new(
                hmac.digest(self._tenant, _domain("field", field), sha256), None, sha256
            )
        return state.copy()


def load_identity(settings: KeySettings) -> Identity:
    """Take the keys from the source that is named, else from the settings, else from ``base_dir/hmac.key``.

    The file is made once, for its owner only. Where the ring is linked, ``services.gateway.keys.topic.attach_links``
    must follow before ids are made that go to Kafka. Raises ConfigurationError.
    """
    ring = load_ring(settings)
    previous = None
    if ring.previous is not None:
        older = ring.previous
        previous = Identity(older.secret, settings.tenant, older.version, linked=older.linked)
    active = ring.active
    return Identity(active.secret, settings.tenant, active.version, previous=previous, linked=active.linked)


def load_ring(settings: KeySettings) -> KeyRing:
    """Read the key ring; raises ConfigurationError."""
    if settings.key_source:
        text = import_named(settings.key_source, "STILLWATCH_KEY_SOURCE")(settings.tenant)
    elif settings.hmac_key is not None:
        text = settings.hmac_key.get_secret_value()
    else:
        text = _own_key(settings.base_dir / KEY_FILE)
    return parse_ring(text, settings.key_version)


def _own_key(path: Path) -> str:
    if path.exists():
        check_key_file(path)
        return path.read_text(encoding="ascii")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    try:
        # A link is all or nothing: of two processes that start together one makes the key and both read it.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    check_key_file(path)
    return path.read_text(encoding="ascii")


def parse_address(raw: str) -> IPv4Address | IPv6Address | None:
    """Read an address, with or without a port, or the first of an X-Forwarded-For list.

    None for what is no address, and for loopback and unspecified ones: they say where the proxy runs, not the client.
    """
    text = raw.split(",", 1)[0].strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return None if address.is_loopback or address.is_unspecified else address


def network_of(address: IPv4Address | IPv6Address) -> str:
    """Give the /24 of an IPv4 address or the /48 of an IPv6 one: what one subscriber or office is likely to hold."""
    prefix = 24 if isinstance(address, IPv4Address) else 48
    return str(ip_network((address, prefix), strict=False))


def _domain(kind: str, name: str) -> bytes:
    return b"stillwatch/v1/" + kind.encode() + b"/" + _bytes(name)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
