"""Who may do what: users, their sessions, keys for machines, failed sign-ins, and sign-ins under way at a provider.

Nothing here can be used by somebody who reads it: passwords are argon2id, sessions and keys are digests of random
tokens, network addresses are keyed digests.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres.tables import Base


class UserRow(Base):
    """A person. ``password`` is None for one that signs in at a provider; ``issuer`` and ``provider_subject`` are then
    the provider's name for them. ``roles`` may be empty: such a person can sign in and see nothing.
    """  # noqa: D205 - One thought in two lines.

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("tenant", "name"),
        UniqueConstraint("tenant", "issuer", "provider_subject"),
        CheckConstraint("password IS NOT NULL OR issuer IS NOT NULL", name="way_in"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    password: Mapped[str | None]  # PHC string, argon2id.
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    issuer: Mapped[str | None]
    provider_subject: Mapped[str | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    disabled_at: Mapped[datetime | None]


class SessionRow(Base):
    """One browser that is signed in. ``digest`` is the SHA-256 of the cookie's token."""

    __tablename__ = "sessions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "user_id"], ["users.tenant", "users.user_id"], ondelete="CASCADE"),
        Index(None, "tenant", "user_id"),
        UniqueConstraint("digest"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    method: Mapped[str]  # "password" or "oidc".
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class ApiKeyRow(Base):
    """A key for a machine: what it may do, until when, and who answers for it."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant", "created_at", "key_id"), UniqueConstraint("digest"))

    tenant: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]


class SignInFailureRow(Base):
    """Failed sign-ins of one name or from one address within a window; ``subject`` is a keyed digest."""

    __tablename__ = "sign_in_failures"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[bytes] = mapped_column(primary_key=True)
    window_start: Mapped[datetime]
    failures: Mapped[int]


class PendingSignInRow(Base):
    """A sign-in that a provider has not answered yet. ``state`` is the SHA-256 of the state parameter."""

    __tablename__ = "pending_sign_ins"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[bytes] = mapped_column(primary_key=True)
    nonce: Mapped[str]
    verifier: Mapped[str]  # PKCE's; of use only together with the code, which comes by the browser.
    target: Mapped[str]
    created_at: Mapped[datetime]
