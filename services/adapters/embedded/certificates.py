"""An authority of one's own for the loopback address: certificates of the embedded servers, for a lab or a test.

Files are PEM, keys PKCS #8 without a password, readable by their owner alone. ECDSA over P-256, as Java, OpenSSL and
PostgreSQL all take it.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.adapters.embedded import files
from services.adapters.embedded.ports import LOOPBACK

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

LIFE: Final = timedelta(days=30)
_SKEW: Final = timedelta(minutes=5)  # A clock beside ours may be behind.


class Authority:
    """A certificate authority whose key stays in memory; ``certificate`` is the file that clients trust."""

    def __init__(self, folder: Path, now: datetime, name: str = "stillwatch-embedded") -> None:
        self._folder = folder
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = (
            self._builder(self._name, self._key, now - _SKEW, now + LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / f"{name}.crt"
        files.write_whole(self.certificate, made.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, begins: datetime | None = None, ends: datetime | None = None) -> Path:
        """Issue a certificate for this machine's loopback address; give one file with the key and the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = [x509.IPAddress(ipaddress.ip_address(LOOPBACK)), x509.DNSName("localhost")]
        made = (
            self._builder(_named(name), key, begins or self._now - _SKEW, ends or self._now + LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{name}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files.write_whole(path, secret + made.public_bytes(Encoding.PEM))
        return path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
