"""A case for readers: HTML that needs nothing else, and PDF by fpdf2. The sealed JSON is the original of both."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from schemas.alert import decode_alert
from services.adapters.postgres.moments import read_moment

if TYPE_CHECKING:
    from schemas.alert import Alert

SHOWN: Final = 60
_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def alert_of(case: dict[str, Any]) -> Alert:
    """Read the alert's record out of a case."""
    return decode_alert(base64.b64decode(case["record"]["base64"]))


def to_html(case: dict[str, Any], sha256: str) -> str:
    """Write a case as one page; ``sha256`` names the sealed file."""
    return _templates.get_template("dossier.html").render(
        case=case, alert=alert_of(case), sections=sections(case), sha256=sha256, shown=SHOWN
    )


def sections(case: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Give a case as headings and lines, the same for every form."""
    alert = alert_of(case)
    certainty, judgement = case["certainty"], case["judgement"]
    why = [
        f"{part.feature.replace('_', ' ')}: seen {part.actual:.4g}, expected {part.expected:.4g}, "
        f"part in the score {part.weight:+.3f}"
        for part in alert.contributions
    ]
    members = [
        f"{member.account} of {member.customer}: {member.requests} requests, strength {member.strength:.2f}, "
        f"named since {member.since}"
        for member in alert.members[:SHOWN]
    ]
    if len(alert.members) > SHOWN:
        members.append(f"and {len(alert.members) - SHOWN} more in the sealed file")
    return [
        (
            "What was seen",
            [
                f"{alert.title}.",
                f"{alert.kind.replace('_', ' ')}, severity {alert.severity}, {alert.requests} requests.",
                f"First raised {alert.event_time}; revision {alert.revision} is of {alert.updated_time}.",
            ],
        ),
        ("Why: expected and seen", why),
        (
            "By which rule and version",
            [f"configuration {alert.config_version}, {case['about']['product']}"]
            + [
                f"{each.detector} on {each.family or each.lane} {each.subject}, hop {each.hop}: "
                f"score {each.score:.4g}, {each.customers} customers, {each.requests} requests"
                for each in alert.findings[:SHOWN]
            ],
        ),
        (
            "How sure",
            [
                f"Confidence {certainty['confidence']:.2f}.",
                f"Verdicts on alerts of {certainty['detector']}: {certainty['verdicts_on_this_detector']}.",
                f"Confirmed of these: {certainty['confirmed']}.",
                f"Precision, 95 %: {certainty['precision_95_low']:.2f} to {certainty['precision_95_high']:.2f}.",
            ],
        ),
        (
            "What people made of it",
            [f"state: {judgement['state']}"]
            + [
                f"{row['labelled_at']} {row['actor']}: {row['verdict']}. {row['reason']}" for row in judgement["labels"]
            ],
        ),
        ("Accounts that it names", members),
        ("What cannot be concluded", list(case["cannot_be_concluded"])),
        (
            "Record of acts",
            [f"{len(case['audit']['rows'])} rows of the audit, whose chain ends at {case['audit']['chain_head']}."],
        ),
    ]


def to_pdf(case: dict[str, Any], sha256: str) -> bytes:
    """Write a case as PDF; equal cases give equal bytes."""
    paper = FPDF(format="A4")
    paper.set_creation_date(read_moment(case["about"]["made_at"]))
    paper.set_title(f"Dossier {case['about']['alert_id']}")
    paper.set_auto_page_break(auto=True, margin=18)
    paper.add_page()
    _line(paper, f"Dossier of alert {case['about']['alert_id']}", size=16, bold=True)
    _line(paper, f"made {case['about']['made_at']} for {case['about']['tenant']}; sealed file SHA-256 {sha256}", size=8)
    for heading, lines in sections(case):
        paper.ln(3)
        _line(paper, heading, size=12, bold=True)
        for line in lines:
            _line(paper, line, size=9)
    return bytes(paper.output())


def _line(paper: FPDF, text: str, *, size: int, bold: bool = False) -> None:
    paper.set_font("helvetica", style="B" if bold else "", size=size)
    # The built-in fonts know Latin-1; what people wrote in other scripts stands in the sealed file as it is.
    shown = text.encode("latin-1", "replace").decode("latin-1")
    paper.multi_cell(0, size * 0.5, shown, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
