"""The queue: facets, order and place all stand in the address, so that a view is a link that can be kept or sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import HTMLResponse

from services.adapters.postgres import queue
from services.adapters.postgres.alerts import list_members
from services.adapters.postgres.cursors import CursorError
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.known import KnownAlert  # noqa: TC001 - as above
from services.api.models import Identifier
from services.console.rendering import is_fragment, render
from services.console.state import state_of
from services.console.viewer import viewer_of
from services.console.wording import FACET_NAMES, SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
ROWS: Final = 50
MEMBERS_SHOWN: Final = 12
EVERY_STATE: Final = "all"
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,64}$")]
# The views that a newcomer needs; others are any address of this page.
VIEWS: Final = (
    ("To do", ""),
    ("Critical", "severity=critical"),
    ("Campaigns", "subject_kind=campaign"),
    ("Asks, not accusations", "kind=verification_request"),
    ("Drawn at random", "kind=exploration"),
    ("Snoozed", "state=snoozed"),
    ("Judged", "state=labelled"),
    ("Closed", "state=closed"),
    ("Everything", "state=all"),
)


class QueueQuery(BaseModel):
    """The address of the queue. Unknown parameters are ignored: an old link still opens."""

    model_config = ConfigDict(extra="ignore")

    state: list[Word] = Field(default_factory=list, max_length=8)
    severity: list[Word] = Field(default_factory=list, max_length=8)
    kind: list[Word] = Field(default_factory=list, max_length=8)
    lane: list[Word] = Field(default_factory=list, max_length=8)
    subject_kind: list[Word] = Field(default_factory=list, max_length=8)
    detector: list[Word] = Field(default_factory=list, max_length=8)
    family: list[Word] = Field(default_factory=list, max_length=8)
    assignee: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@+-]{1,100}$")]] = Field(
        default_factory=list, max_length=8
    )
    organisation: Identifier | None = None
    account: Identifier | None = None
    sort: queue.Sort = "priority"
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,400}$")] | None = None

    def wanted(self) -> queue.QueueFilter:
        """Give the filter. Without a state it is what is to do; "all" is every state."""
        states = () if EVERY_STATE in self.state else tuple(self.state) or queue.TO_DO
        return queue.QueueFilter(
            state=states,
            severity=tuple(self.severity),
            kind=tuple(self.kind),
            lane=tuple(self.lane),
            subject_kind=tuple(self.subject_kind),
            detector=tuple(self.detector),
            family=tuple(self.family),
            assignee=tuple(self.assignee),
            organisation=self.organisation,
            account=self.account,
        )

    def address(self, **changes: Any) -> str:
        """Give this view's address with some parts changed; the place in the list is dropped unless given."""
        values = self.model_dump(exclude={"cursor"}, exclude_none=True) | changes
        if values.get("sort") == "priority":
            del values["sort"]
        text = urlencode({name: value for name, value in values.items() if value not in (None, [])}, doseq=True)
        return f"/queue?{text}" if text else "/queue"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet: how many alerts it would leave, whether it is chosen, and where a click leads."""

    value: str
    count: int
    chosen: bool
    address: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One facet with its values."""

    name: str
    title: str
    choices: Sequence[Choice]


def facet_choices(query: QueueQuery, facets: queue.Facets) -> list[Facet]:
    """Make the facets' links; a value that is chosen stays even where it leaves nothing."""
    made: list[Facet] = []
    wanted = query.wanted()
    for name in queue.FACETS:
        counts = dict(facets.counts[name])
        chosen = wanted.chosen(name)
        values = [*counts, *(value for value in chosen if value not in counts)]
        if name == "severity":
            values.sort(key=SEVERITIES.index)
        choices = []
        for value in values:
            if not value:
                continue
            others = [each for each in chosen if each != value]
            now = others if value in chosen else [*chosen, value]
            if name == "state" and not now:
                now = [EVERY_STATE]
            choices.append(Choice(value, counts.get(value, 0), value in chosen, query.address(**{name: now})))
        if choices:
            made.append(Facet(name, FACET_NAMES[name], choices))
    return made


@router.get("/queue", response_model=None)
def show_queue(request: Request, context: Context, query: Annotated[QueueQuery, Query()]) -> HTMLResponse:
    """Show a page of the queue; htmx gets the list alone."""
    wanted = query.wanted()
    with context.transaction() as session:
        try:
            page = queue.list_queue(
                session, viewer_of(request).tenant, wanted, sort=query.sort, limit=ROWS, cursor=query.cursor
            )
        except CursorError:
            page = queue.list_queue(
                session, viewer_of(request).tenant, wanted, sort=query.sort, limit=ROWS, cursor=None
            )
        facets = state_of(request).pulse.counts.read(session, viewer_of(request).tenant, wanted)
    return render(
        request,
        "queue_list.html" if is_fragment(request) else "queue.html",
        query=query,
        rows=page.rows,
        next_cursor=page.next_cursor,
        facets=facet_choices(query, facets),
        total=facets.total,
        everything=facets.everything,
        views=VIEWS,
        sorts=queue.SORTS,
        here=query.address(),
        beat=state_of(request).pulse.read(),
    )


@router.get("/queue/organisations", response_model=None)
def show_organisations(request: Request, context: Context, query: Annotated[QueueQuery, Query()]) -> HTMLResponse:
    """Give the organisations that most of this view is about, when somebody opens that facet."""
    with context.transaction() as session:
        found = queue.top_organisations(session, viewer_of(request).tenant, query.wanted())
    return render(request, "queue_organisations.html", query=query, organisations=found)


@router.get("/queue/{alert_id}/members", response_model=None)
def show_members(request: Request, context: Context, alert_id: KnownAlert) -> HTMLResponse:
    """Give the strongest members of a campaign, below its row."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        page = list_members(session, tenant, alert_id, limit=MEMBERS_SHOWN)
    return render(
        request, "queue_members.html", members=page.rows, alert_id=alert_id, more=page.next_cursor is not None
    )
