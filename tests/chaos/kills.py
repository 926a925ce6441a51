"""``kill -9`` of each process behind the workers at random moments; alerts and verdicts go on past the last one."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.back import START_SECONDS, Back, UnexpectedError
from tests.chaos.plan import Outcome

if TYPE_CHECKING:
    from tests.chaos.plan import Plan

_ANY_MOMENT: Final = 0.25  # Share of kills that do not wait until the process is ready: it may be starting.


def run(plan: Plan) -> Outcome:
    """Kill one after the other, each as often, then judge; see ``Row``."""
    dice = Random(plan.seed)  # noqa: S311 - a trial must be repeatable
    back = Back(plan.folder, dice)
    trials: list[dict[str, Any]] = []
    try:
        back.open()
        names = list(back.processes)
        wanted = int(plan.choose(10, 40))
        order = [name for _ in range(-(-wanted // len(names))) for name in dice.sample(names, len(names))][:wanted]
        for place, name in enumerate(order):
            trials.append(_kill(back, name, dice))
            plan.say(f"  {place + 1}/{wanted}: {trials[-1]}")
        time.sleep(3)
        assert back.traffic is not None
        under_traffic = back.traffic.going
        back.traffic.stop()
        drained = back.settle()
        verdict = back.judge()
    except UnexpectedError as error:
        return Outcome(len(trials), None, None, passed=False, detail={"trials": trials, "told": str(error)})
    finally:
        back.close()
    detail = {
        "trials": trials,
        "kills": dict(Counter(trial["killed"] for trial in trials)),
        **verdict.told(),
        "drain_seconds": round(drained, 1),
    }
    passed = verdict.exact and under_traffic
    return Outcome(len(trials), verdict.lost.total(), verdict.doubled.total(), passed, detail=detail)


def _kill(back: Back, name: str, dice: Random) -> dict[str, Any]:
    process = back.processes[name]
    if dice.random() >= _ANY_MOMENT:
        back.wait(process.ready, START_SECONDS, f"{name} is ready to be killed")
    time.sleep(dice.uniform(0.0, 1.5))
    starts, at = process.starts, "ready" if process.ready() else "starting"
    process.kill()
    back.wait(lambda: process.starts > starts, 10.0, f"{name} is started again")
    if process.ends[-1] != -9:
        raise UnexpectedError(f"{name} ended with {process.ends[-1]} before it was killed")
    return {"killed": name, "at": at}
