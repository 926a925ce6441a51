"""The state machine of an alert, pure: what people ask for, what new evidence does, and what time ends.

States: ``open`` and ``reopened`` wait; ``claimed`` is held by one person until a lease ends; ``labelled`` has a
verdict; ``snoozed`` waits for a moment; ``closed`` waits for new evidence, which alone reopens it. What nobody may lose
- verdict, snooze, tags - is never touched by evidence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from schemas.label import Verdict
from services.adapters.postgres.alerts import State  # noqa: TC001 - a dataclass of ours is read at run time
from services.adapters.postgres.moments import format_moment, read_moment
from services.errors import StillwatchError

LEASE: Final = timedelta(minutes=15)
LONGEST_SNOOZE: Final = timedelta(days=90)
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
TagName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
PersonName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")]
ESCALATED: Final = "escalated"


class HeldError(StillwatchError):
    """Somebody else has claimed the alert."""

    hint = "Wait for the lease to end, or ask a lead to take it over."


class NotPossibleError(StillwatchError):
    """The alert's state does not allow this."""

    hint = "Read the alert again."


class _Act(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Act):
    """Take the alert for a quarter of an hour; again renews the lease."""

    act: Literal["claim"] = "claim"


class Release(_Act):
    """Give a claimed alert back."""

    act: Literal["release"] = "release"


class Assign(_Act):
    """Say who should look at it; null says nobody."""

    act: Literal["assign"] = "assign"
    assignee: PersonName | None


class Judge(_Act):
    """Give a verdict, with the reason in one's own words."""

    act: Literal["judge"] = "judge"
    verdict: Verdict
    reason: Reason


class Snooze(_Act):
    """Hide the alert, and later ones of its subject and detector, until a moment."""

    act: Literal["snooze"] = "snooze"
    until: AwareDatetime
    reason: Reason


class Wake(_Act):
    """End a snooze before its time."""

    act: Literal["wake"] = "wake"


class Close(_Act):
    """Put the alert away; only new evidence brings it back."""

    act: Literal["close"] = "close"
    reason: Reason


class Comment(_Act):
    """Add a note, which nothing erases."""

    act: Literal["comment"] = "comment"
    text: Reason


class Tag(_Act):
    """Set the tags, all of them."""

    act: Literal["tag"] = "tag"
    tags: Annotated[list[TagName], Field(max_length=20)]


class Escalate(_Act):
    """Hand it to a lead: it goes back to the queue, tagged, with a note."""

    act: Literal["escalate"] = "escalate"
    reason: Reason


Act = Annotated[
    Claim | Release | Assign | Judge | Snooze | Wake | Close | Comment | Tag | Escalate, Field(discriminator="act")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What people and time made of an alert. ``label_id`` is the verdict that stands."""

    state: State
    assignee: str | None = None
    lease_until: datetime | None = None
    snoozed_until: datetime | None = None
    reopened_revision: int | None = None
    label_id: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def rest(self) -> State:
        """The state in which it waits for somebody."""
        return "open" if self.reopened_revision is None else "reopened"

    def to_json(self) -> dict[str, Any]:
        """Write it for a row of the acts or the audit."""
        told = asdict(self)
        told["tags"] = list(self.tags)
        for name in ("lease_until", "snoozed_until"):
            told[name] = format_moment(told[name]) if told[name] is not None else None
        return told

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Standing:
        """Read what ``to_json`` wrote."""
        moments = {
            name: read_moment(told[name]) if told[name] is not None else None
            for name in ("lease_until", "snoozed_until")
        }
        return cls(**{**told, **moments, "tags": tuple(told["tags"])})


def at(standing: Standing, now: datetime) -> Standing:
    """Give the standing with what time has ended: a lease, a snooze."""
    if standing.state == "claimed" and (standing.lease_until is None or standing.lease_until <= now):
        return replace(standing, state=standing.rest, assignee=None, lease_until=None)
    if standing.state == "snoozed" and (standing.snoozed_until is None or standing.snoozed_until <= now):
        return replace(standing, state=standing.rest, snoozed_until=None)
    return standing


def with_evidence(standing: Standing, revision: int, *, news: bool, entitled: bool) -> Standing:
    """Give the standing after a revision: only a closed alert changes, only by findings that it did not have.

    An alert whose every account is entitled stays closed: an entitlement wins over any detector.
    """
    if standing.state != "closed" or not news or entitled:
        return standing
    return replace(standing, state="reopened", reopened_revision=revision, assignee=None, lease_until=None)


def after(standing: Standing, act: Act, actor: str, now: datetime, *, oversees: bool) -> Standing:
    """Give the standing after an act; raises HeldError or NotPossibleError. ``label_id`` is the caller's to set."""
    if isinstance(act, Comment):
        return standing
    if isinstance(act, Tag):
        return replace(standing, tags=tuple(sorted(set(act.tags))))
    if standing.state == "closed":
        raise NotPossibleError("the alert is closed: new evidence reopens it, and closing can be undone")
    _require_not_held(standing, actor, oversees=oversees)
    if isinstance(act, Claim | Release | Assign | Escalate):
        return _handed(standing, act, actor, now)
    if isinstance(act, Snooze | Wake):
        return _snoozed(standing, act, now)
    ended = replace(standing, lease_until=None, snoozed_until=None, reopened_revision=None)
    if isinstance(act, Judge):
        return replace(ended, state="labelled", assignee=actor)
    return replace(ended, state="closed", assignee=None)


def _handed(standing: Standing, act: Claim | Release | Assign | Escalate, actor: str, now: datetime) -> Standing:
    """Change whose it is."""
    if isinstance(act, Claim):
        _require(standing, "open", "reopened", "claimed")
        return replace(standing, state="claimed", assignee=actor, lease_until=now + LEASE)
    if isinstance(act, Release):
        _require(standing, "claimed")
        return replace(standing, state=standing.rest, assignee=None, lease_until=None)
    if isinstance(act, Assign):
        return _assign(standing, act.assignee)
    tags = tuple(sorted({*standing.tags, ESCALATED}))
    return replace(_assign(standing, None), tags=tags)


def _snoozed(standing: Standing, act: Snooze | Wake, now: datetime) -> Standing:
    """Hide it until a moment, or show it again."""
    if isinstance(act, Wake):
        _require(standing, "snoozed")
        return replace(standing, state=standing.rest, snoozed_until=None)
    _require(standing, "open", "reopened", "claimed", "snoozed")
    if not now < act.until <= now + LONGEST_SNOOZE:
        raise NotPossibleError("a snooze ends in the future, within 90 days")
    return replace(standing, state="snoozed", assignee=None, lease_until=None, snoozed_until=act.until)


def _assign(standing: Standing, assignee: str | None) -> Standing:
    """Set who should look; a claim by somebody else than the new assignee ends."""
    if standing.state == "claimed" and standing.assignee != assignee:
        return replace(standing, state=standing.rest, assignee=assignee, lease_until=None)
    return replace(standing, assignee=assignee)


def _require(standing: Standing, *states: State) -> None:
    if standing.state not in states:
        raise NotPossibleError(f"the alert is {standing.state}")


def _require_not_held(standing: Standing, actor: str, *, oversees: bool) -> None:
    if standing.state == "claimed" and standing.assignee != actor and not oversees:
        until = standing.lease_until
        raise HeldError(f"{standing.assignee} holds the alert until {format_moment(until) if until else 'released'}")
