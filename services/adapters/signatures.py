"""Ed25519 over decisions: the issuer holds the private key, gateways public ones, several while a key is turned.

The key's id is the first 16 hexadecimal digits of SHA-256 over the public key, so that nobody has to name keys.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.decision import Decision, signing_input
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEY_FILE: Final = "decision-signing.key"
_SEED_BYTES: Final = 32
Refusal = Literal["unreadable", "unknown_key", "forged"]
_decoder: Final = msgspec.json.Decoder(Decision)
_encoder: Final = msgspec.json.Encoder()


class RefusedRecordError(Exception):
    """A record is no decision of an issuer that this gateway trusts; ``reason`` says why, and nothing is quoted."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason: Refusal = reason


def key_id_of(public: bytes) -> str:
    """Give the id of a public key of 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


class Signer:
    """Signs with one private key; its repr tells nothing of it."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public)
        # For the jitter of restrictions: nobody without the private key can foretell it.
        self.jitter_key = hashlib.blake2b(seed, digest_size=32, person=b"sw-jitter-key").digest()

    def sign(self, decision: Decision, tenant: str) -> bytes:
        """Give the record as the topic has it: with the key's id and the signature, whatever stood there."""
        named = msgspec.structs.replace(decision, key_id=self.key_id, signature="")
        signature = self._key.sign(signing_input(named, tenant)).hex()
        return _encoder.encode(msgspec.structs.replace(named, signature=signature))


class Verifier:
    """Reads records of one tenant that one of ``keys`` (public, 32 bytes each) has signed."""

    def __init__(self, keys: Iterable[bytes], tenant: str) -> None:
        self._keys = {key_id_of(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}
        self._tenant = tenant

    def read(self, raw: bytes) -> Decision:
        """Read one record; raises RefusedRecordError."""
        try:
            decision = _decoder.decode(raw)
            signature = bytes.fromhex(decision.signature)
        except (msgspec.DecodeError, ValueError) as error:
            raise RefusedRecordError("unreadable") from error
        key = self._keys.get(decision.key_id)
        if key is None:
            raise RefusedRecordError("unknown_key")
        try:
            key.verify(signature, signing_input(decision, self._tenant))
        except InvalidSignature as error:
            raise RefusedRecordError("forged") from error
        return decision


def load_signer(base_dir: Path, secret: str | None) -> Signer:
    """Take the seed (64 hexadecimal digits) from the setting, else from a file that is made once for its owner only."""
    return Signer(_seed(secret if secret is not None else own_secret(base_dir / KEY_FILE)))


def load_verifier(base_dir: Path, public_keys: str | None, tenant: str) -> Verifier:
    """Take public keys (hexadecimal, commas between) from the setting, else the one of this machine's own issuer."""
    if public_keys is None:
        return Verifier([load_signer(base_dir, None).public], tenant)
    try:
        keys = [bytes.fromhex(each) for each in public_keys.replace(",", " ").split()]
        return Verifier(keys, tenant)
    except ValueError as error:
        raise ConfigurationError(
            "the public keys of decisions are not 64 hexadecimal digits each",
            "`stillwatch decisions keys` prints the issuer's.",
        ) from error


def _seed(text: str) -> bytes:
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ConfigurationError(
            "the signing key of decisions is not 64 hexadecimal digits",
            "Set STILLWATCH_DECISION_SIGNING_KEY to the output of `openssl rand -hex 32`.",
        )
    return seed


def own_secret(path: Path) -> str:
    """Give the secret in a file, 64 hexadecimal digits; made once, for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_SEED_BYTES))
        try:
            # A link is all or nothing: of two processes that start together one makes the key and both read it.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()
