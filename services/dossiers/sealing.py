"""The seal: a case as canonical JSON, signed by Ed25519. One changed byte, a blank too, and it is refused.

A file is verified from itself alone: the signature, the alert's record against its digest and its facts, and each row
of the audit against its own hash. Whose key it is, the reader learns elsewhere: ``stillwatch dossier key`` prints it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.alert import decode_alert
from services.adapters.postgres import audit
from services.dossiers.case import audit_row
from services.errors import StillwatchError

FORMAT: Final = "stillwatch-dossier/1"
_encoder: Final = msgspec.json.Encoder(order="sorted")


class RefusedDossierError(StillwatchError):
    """The file is no dossier as it was sealed."""

    hint = "Ask whoever made it for the file again."


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good file is about, and who sealed it."""

    alert_id: str
    made_at: str
    public_key: str
    audit_rows: int


def seal(case: dict[str, Any], seed: bytes) -> bytes:
    """Give the file; ``seed`` is the 32 bytes of the private key."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    named = {"case": case, "format": FORMAT, "public_key": key.public_key().public_bytes_raw().hex()}
    return _encoder.encode(named | {"signature": key.sign(_encoder.encode(named)).hex()})


def public_key_of(seed: bytes) -> str:
    """Give the public key, hexadecimal."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()


def digest(sealed: bytes) -> str:
    """Name a file by its content."""
    return hashlib.sha256(sealed).hexdigest()


def read(sealed: bytes, public_key: str | None = None) -> dict[str, Any]:
    """Give the case of a good file, sealed by ``public_key`` where one is named; raises RefusedDossierError."""
    try:
        file = msgspec.json.decode(sealed, type=dict[str, Any])
        if _encoder.encode(file) != sealed or file.keys() != {"case", "format", "public_key", "signature"}:
            raise RefusedDossierError("the file is not as it was written")
        named, signature = {**file}, bytes.fromhex(file["signature"])
        del named["signature"]
        if signature.hex() != file["signature"]:
            raise RefusedDossierError("the file is not as it was written")
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(file["public_key"])).verify(signature, _encoder.encode(named))
    except InvalidSignature as error:
        raise RefusedDossierError("the file was changed after it was sealed") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise RefusedDossierError("the file is no dossier") from error
    if file["format"] != FORMAT or (public_key is not None and file["public_key"] != public_key):
        raise RefusedDossierError("the file was sealed by somebody else, or by another version")
    case: dict[str, Any] = file["case"]
    return case


def verify(sealed: bytes, public_key: str | None = None) -> Verified:
    """Check a file from itself alone; raises RefusedDossierError."""
    case = read(sealed, public_key)
    try:
        _check_record(case)
        rows = [audit_row(row) for row in case["audit"]["rows"]]
        about = case["about"]
    except (KeyError, TypeError, ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise RefusedDossierError("a part of the case is missing") from error
    for row in rows:
        # A row whose identifier was forgotten reads otherwise than it was hashed; the chain vouches for it elsewhere.
        if audit.link_hash(row) != row["hash"] and not row.get("forgotten", False):
            raise RefusedDossierError(f"row {row['seq']} of the audit does not have its hash")
    return Verified(about["alert_id"], about["made_at"], msgspec.json.decode(sealed)["public_key"], len(rows))


def _check_record(case: dict[str, Any]) -> None:
    told = case["record"]
    record = base64.b64decode(told["base64"], validate=True)
    alert = decode_alert(record)
    digests = {row["revision"]: row["sha256"] for row in case["revisions"]}
    good = (
        hashlib.sha256(record).hexdigest() == told["sha256"] == digests.get(told["revision"], told["sha256"]),
        alert.alert_id == case["about"]["alert_id"],
        alert.revision == told["revision"],
        alert.config_version == case["about"]["configuration"],
    )
    if not all(good):
        raise RefusedDossierError("the alert's record is not the one that the case speaks of")
