"""The way to a size: the same traffic at each factor of ten below it, and what is reached from one to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from services.capacity.limits import Ceiling
from services.capacity.plan import Plan, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.capacity.coefficients import Coefficients
    from services.capacity.demand import Demand

LEAST_RATE: Final = 10.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One factor of ten: its plan, and what is reached since the step before, the lowest rate first."""

    plan: Plan
    reached: tuple[Ceiling, ...]


def steps(demand: Demand, known: Coefficients) -> Iterator[Step]:
    """Give the sizes from LEAST_RATE up to what is asked, accounts growing alike."""
    rates = [demand.requests_per_second]
    while rates[-1] / 10 >= LEAST_RATE:
        rates.append(rates[-1] / 10)
    before = 0.0
    for rate in reversed(rates):
        plan = make_plan(demand.times(rate / demand.requests_per_second), known)
        yield Step(plan=plan, reached=tuple(one for one in plan.ceilings if before < one.requests_per_second <= rate))
        before = rate
