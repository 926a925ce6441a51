"""Label v1: an analyst's verdict on an alert. Consumed by ``label_id``; the newest verdict of an alert stands."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Verdict = Literal["true_positive", "false_positive", "benign", "insufficient_data"]
# What the topic may say: a verdict, or that the last one was taken back and none stands.
LabelVerdict = Literal["true_positive", "false_positive", "benign", "insufficient_data", "withdrawn"]


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="label.v1"):
    """``verdict`` follows OCSF's verdict_id 2, 1, 5, 7; ``withdrawn`` says that no verdict stands any more.

    ``reason`` is mandatory and is the analyst's own words.
    """

    label_id: str
    alert_id: str
    alert_revision: int
    subject_kind: Literal["account", "campaign"]
    subject: str
    verdict: LabelVerdict
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    actor: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    labelled_at: str  # RFC 3339.
    config_version: str  # The configuration that raised the alert.
