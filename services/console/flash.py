"""What a page says of the act before it. Only codes travel in the address; the words stand here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from fastapi import Request

DONE: Final[dict[str, str]] = {
    "claim": "Claimed: it is yours for a quarter of an hour.",
    "release": "Given back to the queue.",
    "assign": "Assigned.",
    "judge": "The verdict is recorded and on its way to the models.",
    "snooze": "Snoozed, for this subject and detector only.",
    "wake": "Awake again.",
    "close": "Closed. New evidence opens it again.",
    "comment": "The comment is kept.",
    "tag": "The tags are saved.",
    "escalate": "Handed to a lead.",
    "undone": "Undone.",
    "proposed": "Proposed. Somebody else has to approve it.",
    "approved": "Approved: it is in force.",
    "rejected": "Turned down.",
    "revoked": "Taken back from now on.",
    "reviewed": "Your verdict is recorded.",
    "settled": "Settled.",
    "promoted": "Promoted: it has its say from the next hop on.",
    "retired": "Retired: scores and configured thresholds stand alone.",
    "restored": "What was live before is live again.",
    "roles": "The roles are saved; the person's sessions have ended.",
    "disabled": "Disabled, and signed out everywhere.",
    "key_revoked": "The key is revoked.",
}
REFUSED: Final[dict[str, str]] = {
    "LostRaceError": "Somebody else changed this alert since you read it. Nothing of yours was written; "
    "here it is as it stands now.",
    "HeldError": "Somebody else has claimed this alert. Nothing was written.",
    "NotPossibleError": "The alert's state does not allow this any more. Nothing was written.",
    "UnknownAlertError": "There is no such alert.",
    "SupersededError": "Something else has happened to the alert since, so this cannot be undone. Nothing was written.",
    "NotYoursError": "Another person did this; they can undo it, or a lead.",
    "UnknownActError": "There is no such act.",
    "OwnProposalError": "Who proposes never approves. Ask another lead.",
    "SamePersonError": "Who proposes never approves. Ask another lead.",
    "UnknownProposalError": "This proposal was decided already.",
    "EntitledAlreadyError": "The subject has an entitlement that has not ended. Revoke that one first.",
    "PeriodError": "The period is empty or has ended.",
    "UnknownEntitlementError": "There is no such entitlement.",
    "NotForYouError": "You have a part in this already; leave it to somebody else.",
    "ReviewedAlreadyError": "Somebody was faster: the review has its verdict.",
    "UnknownReviewError": "There is no such review.",
    "NotProposedError": "It does not wait for an approval any more.",
    "NotInForceError": "It is not in force, so there is nothing to take back.",
    "UnknownDecisionError": "There is no such decision.",
    "OwnCandidateError": "Who writes a configuration never publishes it.",
    "UnknownModelError": "There is no such version.",
    "NotReadyError": "The version has learned too little to have a say, or is live already.",
    "OwnModelError": "You gave verdicts that this version learned from. Leave it to another publisher.",
    "moved": "It has learned on since you looked. Nothing was written; here it is as it stands now.",
    "BadUserError": "The name or a role cannot be used.",
    "NameTakenError": "Another person has this name.",
    "LastAdminError": "Nobody could manage people any more. Make somebody else an admin first.",
    "UnknownUserError": "There is no such person.",
    "BadKeyError": "The key cannot be made as asked.",
    "UnknownKeyError": "There is no such key.",
    "TooManyError": "More alerts match than one act may touch. Narrow the filter.",
    "MovedOnError": "Other alerts match now than the preview showed. Nothing was written; look again.",
    "form": "The form was not complete. Nothing was written.",
    "none": "Nothing waits in the queue.",
}


@dataclass(frozen=True, slots=True)
class Flash:
    """A sentence above the page, and where its undo goes."""

    text: str
    tone: str = "good"
    undo: str | None = None


def flash_of(request: Request) -> Flash | None:
    """Read what the address says; an unknown code says nothing."""
    asked = request.query_params
    refused = asked.get("refused", "")
    if refused in REFUSED:
        return Flash(REFUSED[refused], "bad")
    done = asked.get("done", "")
    if done not in DONE:
        return None
    act = asked.get("act_id", "")
    return Flash(DONE[done], undo=f"/acts/{act}/undo" if act.isalnum() else None)


def told(path: str, **codes: str) -> str:
    """Give an address with codes for ``flash_of``."""
    return f"{path}{'&' if '?' in path else '?'}{urlencode(codes)}"


def local(path: str, otherwise: str) -> str:
    """Take a path that a form brought only where it stays on this site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else otherwise
