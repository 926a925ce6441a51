"""Sign-in at an OpenID Connect provider: the code flow with PKCE, by authlib. The provider says who and which groups.

The ID token is believed only when its signature, issuer, audience, expiry and nonce are right. What a provider says
about groups becomes roles by the table in the settings; each sign-in sets them anew.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select

from services.adapters.postgres import audit
from services.adapters.postgres.identity_tables import UserRow
from services.errors import StillwatchError
from services.identity.people import NameTakenError, add_user, describe
from services.identity.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

SCOPE: Final = "openid profile email"
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]
TIMEOUT_SECONDS: Final = 10.0
_LEEWAY_SECONDS: Final = 60  # Between the provider's clock and ours.


class ProviderError(StillwatchError):
    """The provider does not answer, or its answer cannot be believed."""

    hint = "Try again; an admin finds the reason in the log."


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and what to remember until it comes back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who the provider says it is."""

    issuer: str
    subject: str
    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. Its documents are fetched with each sign-in: keys rotate, and people sign in seldom."""

    issuer: str
    client_id: str
    client_secret: str | None
    roles_claim: str
    roles: Mapping[str, Sequence[str]]

    def begin(self, redirect_uri: str) -> Begun:
        """Start a sign-in; raises ProviderError."""
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        with self._client(redirect_uri) as client:
            endpoint = self._metadata()["authorization_endpoint"]
            url, state = client.create_authorization_url(endpoint, code_verifier=verifier, nonce=nonce)
        return Begun(url, state, nonce, verifier)

    def finish(self, redirect_uri: str, *, code: str, verifier: str, nonce: str, now: int) -> Stranger:
        """Trade the code for an ID token and read it; ``now`` in seconds since the epoch. Raises ProviderError."""
        try:
            with self._client(redirect_uri) as client:
                metadata = self._metadata()
                token = client.fetch_token(
                    metadata["token_endpoint"], grant_type="authorization_code", code=code, code_verifier=verifier
                )
                keys = _fetch(metadata["jwks_uri"])
            claims = self._claims(token["id_token"], keys, nonce, now)
        except (AuthlibBaseError, httpx2.HTTPError, JoseError, KeyError, ValueError, TypeError) as error:
            raise ProviderError(f"the provider's answer is refused ({type(error).__name__})") from error
        return self._stranger(claims)

    def _client(self, redirect_uri: str) -> Any:
        return OAuth2Client(
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method="client_secret_basic" if self.client_secret else "none",
            scope=SCOPE,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
        )

    def _metadata(self) -> dict[str, Any]:
        address = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found: dict[str, Any] = _fetch(address)
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderError("the provider does not answer") from error
        if found.get("issuer") != self.issuer:
            raise ProviderError("the provider calls itself by another name than the settings do")
        return found

    def _claims(self, id_token: str, keys: Any, nonce: str, now: int) -> dict[str, Any]:
        token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            now=now,
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        registry.validate(token.claims)
        return token.claims

    def _stranger(self, claims: Mapping[str, Any]) -> Stranger:
        groups = claims.get(self.roles_claim, [])
        named = {groups} if isinstance(groups, str) else set(map(str, groups))
        granted = {role for group in named for role in self.roles.get(group, ())}
        raw = claims.get("preferred_username") or claims.get("email") or claims["sub"]
        name = re.sub(r"[^A-Za-z0-9._@+-]", "-", str(raw)).lstrip("._@+-")[:100] or "somebody"
        return Stranger(self.issuer, str(claims["sub"]), name, tuple(role for role in ROLES if role in granted))


def _fetch(address: str) -> Any:
    """Read a public document of the provider; the token of a person is not sent along."""
    return httpx2.get(address, timeout=TIMEOUT_SECONDS).raise_for_status().json()


def welcome(session: Session, tenant: str, stranger: Stranger, now: datetime) -> UserRow:
    """Find or make the person whom the provider named, with the roles of this sign-in. The audit has what changed."""
    row = session.scalars(
        select(UserRow)
        .where(
            UserRow.tenant == tenant,
            UserRow.issuer == stranger.issuer,
            UserRow.provider_subject == stranger.subject,
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        return _add(session, tenant, stranger, now)
    if tuple(row.roles) != stranger.roles:
        before = describe(row)
        row.roles = list(stranger.roles)
        session.flush()
        audit.append(
            session.connection(),
            tenant=tenant,
            at=now,
            actor=stranger.issuer,
            action="user.roles_set",
            subject=f"user/{row.name}",
            before=before,
            after=describe(row),
        )
    return row


def _add(session: Session, tenant: str, stranger: Stranger, now: datetime) -> UserRow:
    # A local user of the same name is somebody else: nobody becomes them by choosing a name at a provider.
    host = urlsplit(stranger.issuer).hostname or "provider"
    for name in (stranger.name, f"{stranger.name[:60]}@{host[:30]}", f"{stranger.name[:60]}-{secrets.token_hex(4)}"):
        try:
            return add_user(
                session,
                tenant,
                name,
                roles=stranger.roles,
                password=None,
                by=stranger.issuer,
                now=now,
                issuer=stranger.issuer,
                provider_subject=stranger.subject,
            )
        except NameTakenError:
            continue
    raise ProviderError("no name is left for this person")
