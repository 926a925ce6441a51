"""The closed table of wire records: every JSON record that stands on a topic, and what its readers may rely on.

Binary records (contribution blocks, state rows) are internal to one pair of jobs and versioned by their layouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from detection.outcomes import Alert, Finding, SourceClosed
from schemas import topics
from schemas.account_attributes import AccountAttributes
from schemas.account_window import AccountWindow
from schemas.dead_letter import DeadLetter
from schemas.decision import Decision
from schemas.entitlement import Entitlement
from schemas.label import Label
from schemas.model_version import ModelVersion
from schemas.request_event import Heartbeat, RequestEvent

if TYPE_CHECKING:
    from schemas.topics import Topic

WireRecord: TypeAlias = (
    RequestEvent
    | Heartbeat
    | AccountAttributes
    | AccountWindow
    | Finding
    | SourceClosed
    | Alert
    | Label
    | Decision
    | Entitlement
    | ModelVersion
    | DeadLetter
)
Promise = Literal["backward", "full"]


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One row of the table.

    ``promise`` holds against every released version: ``backward`` - a new reader reads every old record; ``full`` - and
    an old reader reads every new record, because others build on it. Closed schemas make ``full`` a freeze: what it
    cannot say needs the next version of the type.
    """

    struct: type[WireRecord]
    topic: Topic
    promise: Promise

    @property
    def type(self) -> str:
        """Name and version, as the record's field ``type`` and its file say: ``request.v1``."""
        return str(self.struct.__struct_config__.tag)

    @property
    def file_name(self) -> str:
        """Name of the JSON Schema's file."""
        return f"{self.type}.json"


RECORDS: Final[tuple[RecordKind, ...]] = (
    RecordKind(RequestEvent, topics.REQUESTS, "backward"),
    RecordKind(Heartbeat, topics.REQUESTS, "backward"),
    RecordKind(AccountAttributes, topics.ACCOUNT_ATTRIBUTES, "backward"),
    RecordKind(AccountWindow, topics.ACCOUNT_WINDOWS, "backward"),
    RecordKind(Finding, topics.FINDINGS, "backward"),
    RecordKind(SourceClosed, topics.FINDINGS, "backward"),
    RecordKind(Alert, topics.ALERTS, "full"),
    RecordKind(Label, topics.LABELS, "backward"),
    RecordKind(Decision, topics.DECISIONS, "full"),
    RecordKind(Entitlement, topics.ENTITLEMENTS, "backward"),
    RecordKind(ModelVersion, topics.MODELS, "backward"),
    RecordKind(DeadLetter, topics.DEAD_LETTERS, "backward"),
)
