"""The families of pool keys: what two accounts may have in common. A closed table; the docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Family(IntEnum):
    """One kind of pool key. Numbers are on the wire and in state rows: never reuse one."""

    SYSTEM = 1
    PREFIX_8 = 2
    PREFIX_16 = 3
    PREFIX_32 = 4
    SUFFIX_8 = 5
    CONFIGURATION = 6
    CONFIGURATION_CLIENT = 7
    CONFIGURATION_SINGLE_TURN = 8
    CONFIGURATION_YOUNG = 9
    CONFIGURATION_COHORT = 10
    NETWORK = 11
    ADDRESS = 12
    NETWORK_CONFIGURATION = 13
    PAYMENT = 14
    COINCIDENCE = 15
    HANDOVER = 16


@dataclass(frozen=True, slots=True)
class FamilyFact:
    """What a reader of an alert is told of a family.

    ``group`` is the reference stratum; ``attribute`` is the plain phrase of what the members share;
    ``shared_by_design`` marks attributes that honest strangers share because a popular client sets them.
    """

    group: str
    attribute: str
    shared_by_design: bool


FAMILIES: Final[dict[Family, FamilyFact]] = {
    Family.SYSTEM: FamilyFact("template", "the same system prompt", shared_by_design=True),
    Family.PREFIX_8: FamilyFact("template", "the same first 8 words", shared_by_design=False),
    Family.PREFIX_16: FamilyFact("template", "the same first 16 words", shared_by_design=False),
    Family.PREFIX_32: FamilyFact("template", "the same first 32 words", shared_by_design=False),
    Family.SUFFIX_8: FamilyFact("template", "the same last 8 words", shared_by_design=False),
    Family.CONFIGURATION: FamilyFact("configuration", "the same model and parameters", shared_by_design=True),
    Family.CONFIGURATION_CLIENT: FamilyFact(
        "configuration", "the same model, parameters and client", shared_by_design=True
    ),
    Family.CONFIGURATION_SINGLE_TURN: FamilyFact(
        "configuration", "the same model and parameters, single turns only", shared_by_design=True
    ),
    Family.CONFIGURATION_YOUNG: FamilyFact(
        "cohort", "the same model and parameters, accounts under 14 days", shared_by_design=True
    ),
    Family.CONFIGURATION_COHORT: FamilyFact(
        "cohort", "the same model and parameters, first seen in the same 6 hours", shared_by_design=True
    ),
    Family.NETWORK: FamilyFact("network", "the same network", shared_by_design=True),
    Family.ADDRESS: FamilyFact("network", "the same address", shared_by_design=True),
    Family.NETWORK_CONFIGURATION: FamilyFact(
        "network", "the same network, model and parameters", shared_by_design=True
    ),
    Family.COINCIDENCE: FamilyFact("link", "the same prompts within seconds of each other", shared_by_design=False),
    Family.HANDOVER: FamilyFact("link", "keys that follow one another on one network", shared_by_design=False),
    Family.PAYMENT: FamilyFact("payment", "the same payment attribute", shared_by_design=False),
}
