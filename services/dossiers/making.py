"""Making a dossier: read the case, seal it, and put its digest into the audit, in one transaction."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from schemas import ocsf
from services.adapters.postgres import audit
from services.dossiers import case, indicators, papers, sealing

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

Form = Literal["json", "html", "pdf", "stix", "ocsf"]
MEDIA_TYPES: Final[dict[Form, str]] = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "stix": "application/stix+json;version=2.1",
    "ocsf": "application/json",
}


@dataclass(frozen=True, slots=True)
class Dossier:
    """A sealed file, the case in it, and its digest."""

    sealed: bytes
    case: dict[str, Any]
    sha256: str

    def write(self, form: Form, version: str) -> bytes:
        """Give the dossier in one of its forms; ``json`` is the sealed original."""
        if form == "json":
            return self.sealed
        if form == "html":
            return papers.to_html(self.case, self.sha256).encode()
        if form == "pdf":
            return papers.to_pdf(self.case, self.sha256)
        if form == "stix":
            return msgspec.json.encode(indicators.to_stix(self.case))
        return ocsf.encode(papers.alert_of(self.case), version)


def seed_of(secret: bytes) -> bytes:
    """Derive the private key of dossiers from the console's secret."""
    return hmac.digest(secret, b"stillwatch/dossier", "sha256")


def make(
    session: Session, tenant: str, alert_id: str, *, actor: str, now: datetime, version: str, seed: bytes
) -> Dossier:
    """Make a dossier in the open transaction; raises UnknownAlertError."""
    found = case.collect(session, tenant, alert_id, now, version)
    sealed = sealing.seal(found, seed)
    sha256 = sealing.digest(sealed)
    audit.append(
        session.connection(),
        tenant=tenant,
        at=now,
        actor=actor,
        action="dossier.made",
        subject=f"alert/{alert_id}",
        after={"sha256": sha256, "revision": found["record"]["revision"], "public_key": sealing.public_key_of(seed)},
    )
    return Dossier(sealed, sealing.read(sealed), sha256)
