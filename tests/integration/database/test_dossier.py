"""A dossier is verified from its own file, refused after any one byte has changed, and holds nothing it must not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import stix2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.adapters.postgres.lifecycle import acts
from services.adapters.postgres.lifecycle.standing import Comment, Judge
from services.adapters.postgres.tables import AuditRow
from services.dossiers import making, sealing
from tests.integration.database.samples import NOW, make_alert, store

if TYPE_CHECKING:
    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
ALERT = make_alert(1, 2, members=70)
SEED = bytes(range(32))


@pytest.fixture
def dossier(engine: Engine) -> making.Dossier:
    store(engine, "acme", [make_alert(1), ALERT])
    by = acts.By(tenant="acme", actor="ana", now=NOW)
    with Session(engine) as session, session.begin():
        acts.perform(session, by, ALERT.alert_id, Comment(text="seen in March, <b>too</b>: \u201cquoted\u201d"))
        acts.perform(session, by, ALERT.alert_id, Judge(verdict="true_positive", reason="one list, many hands"))
    with Session(engine) as session, session.begin():
        return making.make(session, "acme", ALERT.alert_id, actor="ana", now=NOW, version="0", seed=SEED)


def test_it_is_verified_from_its_own_file(dossier: making.Dossier, engine: Engine) -> None:
    found = sealing.verify(dossier.sealed, sealing.public_key_of(SEED))
    assert (found.alert_id, found.audit_rows) == (ALERT.alert_id, 2)
    assert dossier.case["audit"]["chain_whole"] is True
    assert [row["revision"] for row in dossier.case["revisions"]] == [1, 2]
    with pytest.raises(sealing.RefusedDossierError, match="somebody else"):
        sealing.verify(dossier.sealed, sealing.public_key_of(bytes(32)))
    with Session(engine) as session:
        told = session.scalars(select(AuditRow.after).where(AuditRow.action == "dossier.made")).one()
    assert told is not None
    assert told["sha256"] == dossier.sha256


def test_one_changed_byte_is_refused_wherever_it_is(dossier: making.Dossier) -> None:
    places = range(0, len(dossier.sealed), max(1, len(dossier.sealed) // 400))
    for place in places:
        for change in (0x01, 0x20):  # Another letter, and the same letter in another case.
            changed = bytearray(dossier.sealed)
            changed[place] ^= change
            with pytest.raises(sealing.RefusedDossierError):
                sealing.verify(bytes(changed))
    for changed_file in (dossier.sealed + b"\n", dossier.sealed[:-1], b"", b"{}", b"[]", b"\xff"):
        with pytest.raises(sealing.RefusedDossierError):
            sealing.verify(changed_file)


def test_who_seals_a_forged_case_anew_is_seen_by_the_parts(dossier: making.Dossier) -> None:
    case = json.loads(dossier.sealed)["case"]
    case["audit"]["rows"][0]["actor"] = "eve"
    with pytest.raises(sealing.RefusedDossierError, match="does not have its hash"):
        sealing.verify(sealing.seal(case, SEED))
    case = json.loads(dossier.sealed)["case"]
    case["record"]["sha256"] = "0" * 64
    with pytest.raises(sealing.RefusedDossierError, match="record"):
        sealing.verify(sealing.seal(case, SEED))


def test_readers_get_every_section_and_safe_text(dossier: making.Dossier) -> None:
    page = dossier.write("html", "0").decode()
    for heading in ("What was seen", "How sure", "What cannot be concluded", "By which rule and version"):
        assert f"<h2>{heading}</h2>" in page
    assert "one list, many hands" in page
    assert "<script" not in page
    assert "and 10 more in the sealed file" in page
    paper = dossier.write("pdf", "0")
    assert paper.startswith(b"%PDF-")
    assert paper == dossier.write("pdf", "0")


def test_indicators_are_stix_and_name_nobody(dossier: making.Dossier) -> None:
    raw = dossier.write("stix", "0").decode()
    bundle = stix2.parse(raw, allow_custom=False)
    kinds = [each["type"] for each in bundle.objects]
    assert kinds.count("indicator") == 1
    assert {"identity", "attack-pattern", "report"} <= set(kinds)
    assert raw == dossier.write("stix", "0").decode()
    for member in ALERT.members:
        assert member.account not in raw
        assert member.customer not in raw
    for word in ('"ana"', "one list", "acme"):
        assert word not in raw
    finding = json.loads(dossier.write("ocsf", "0"))
    assert finding["class_uid"] == 2004
