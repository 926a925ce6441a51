"""The measured numbers of the capacity model, as `tests/benchmarks/engines/capacity.py` has written them.

No number of the model stands in the code: what was measured is a coefficient, what nobody can measure for an
installation is an assumption, and both say where they are from.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import msgspec

from services.errors import StillwatchError

FILE: Final = "coefficients.json"


class CoefficientsError(StillwatchError):
    """The file of coefficients does not hold what the model needs."""

    hint = "Make it anew: `.venv/bin/python tests/benchmarks/engines/capacity.py`."


class Coefficient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number. Between ``low`` and ``high`` it stays when each point that it was fitted on is left out in turn."""

    value: float
    low: float
    high: float
    unit: str
    meaning: str
    command: str
    date: str
    machine: str


class Assumption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that is the installation's own to know: an option changes it."""

    value: float
    unit: str
    reason: str


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Between which values a quantity was measured; outside the model extrapolates, and says so."""

    low: float
    high: float
    unit: str


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model said of a size that it was not fitted on, and what was measured there."""

    what: str
    point: str
    predicted: float
    measured: float
    unit: str

    @property
    def error(self) -> float:
        """Give how far the prediction was off, as a share of what was measured; above 0: too high."""
        return self.predicted / self.measured - 1


class Coefficients(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    coefficients: dict[str, Coefficient]
    assumptions: dict[str, Assumption]
    measured: dict[str, Range]
    checks: list[Check]

    def __getitem__(self, name: str) -> float:
        """Give a coefficient's value; raises CoefficientsError where the file has none of this name."""
        try:
            return self.coefficients[name].value
        except KeyError:
            raise CoefficientsError(f"There is no coefficient {name}.") from None

    def assumed(self, name: str) -> float:
        """Give an assumption's value; raises CoefficientsError where the file has none of this name."""
        try:
            return self.assumptions[name].value
        except KeyError:
            raise CoefficientsError(f"There is no assumption {name}.") from None


@cache
def load() -> Coefficients:
    """Read the file that ships with the product; raises CoefficientsError."""
    return parse(resources.files(__package__).joinpath(FILE).read_bytes())


def parse(raw: bytes) -> Coefficients:
    """Read a file's content; raises CoefficientsError."""
    try:
        return msgspec.json.decode(raw, type=Coefficients)
    except msgspec.DecodeError as error:
        raise CoefficientsError(f"The coefficients cannot be read: {error}.") from error
