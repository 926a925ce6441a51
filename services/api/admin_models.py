"""What users, keys and the audit look like over the wire."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from services.api.models import Answer, Moment, Paging
from services.identity.passwords import LONGEST, SHORTEST
from services.identity.roles import Permission, Role

if TYPE_CHECKING:
    from services.adapters.postgres.tables import AuditRow

UserName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")]
Password = Annotated[SecretStr, Field(min_length=SHORTEST, max_length=LONGEST)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]


class Asked(BaseModel):
    """A body; a field that the API does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class UserAnswer(Answer):
    """One person."""

    name: str
    roles: list[Role]
    issuer: str | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None


class UserRequest(Asked):
    """A person to add."""

    name: UserName
    password: Password
    roles: Annotated[list[Role], Field(max_length=6)]


class RolesRequest(Asked):
    """A person's roles, all of them."""

    roles: Annotated[list[Role], Field(max_length=6)]


class PasswordRequest(Asked):
    """A new password."""

    password: Password


class DisabledRequest(Asked):
    """Whether a person is shut out."""

    disabled: bool


class KeyAnswer(Answer):
    """One key for a machine, without the key."""

    key_id: str
    name: str
    scopes: list[Permission]
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class IssuedKeyAnswer(KeyAnswer):
    """A new key. ``key`` is shown this once."""

    key: str


class KeyRequest(Asked):
    """A key to make."""

    name: KeyName
    scopes: Annotated[list[Permission], Field(min_length=1, max_length=12)]
    expires_at: Moment


class AuditQuery(Paging):
    """Filters of the audit."""

    subject: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:@+/-]{1,256}$")] | None = None
    actor: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:@+/ -]{1,256}$")] | None = None


class AuditAnswer(Answer):
    """One act; ``hash`` covers it and the act before it."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: str

    @classmethod
    def from_row(cls, row: AuditRow) -> AuditAnswer:
        """Read a row of the chain."""
        return cls(
            seq=row.seq or 0,
            at=row.at,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            before=row.before,
            after=row.after,
            hash=(row.hash or b"").hex(),
        )


class ChainAnswer(BaseModel):
    """What a walk along the audit's chain found."""

    whole: bool
    rows: int
    head: str
    broken_at: int | None
    reason: str
