"""Postgres killed with -9, away for a while, read-only, and in deadlock with the product, under traffic."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from tests.chaos.back import HOT, TORN, Back, UnexpectedError
from tests.chaos.plan import Outcome
from tests.integration.database.samples import make_alert

if TYPE_CHECKING:
    from tests.chaos.plan import Plan

FLIP_SECONDS: Final = 10.0
_RECOVER_SECONDS: Final = 120.0


def run(plan: Plan) -> Outcome:
    """Play every fault in a drawn order, then judge; see ``Row``."""
    dice = Random(plan.seed)  # noqa: S311 - a trial must be repeatable
    back = Back(plan.folder, dice)
    away = plan.choose(12.0, 60.0)
    counts = {_kill: plan.choose(2, 8), _down: plan.choose(1, 2), _read_only: plan.choose(1, 3)}
    faults = [fault for fault, count in counts.items() for _ in range(int(count))]
    dice.shuffle(faults)
    trials: list[dict[str, Any]] = []
    try:
        back.open()
        for place, fault in enumerate(faults):
            time.sleep(dice.uniform(2.0, 5.0))
            trials.append({"fault": fault.__name__.strip("_"), **fault(back, away)})
            plan.say(f"  {place + 1}/{len(faults)}: {trials[-1]}")
        wanted = int(plan.choose(3, 20))
        deadlocks = _deadlocks(back, wanted, plan.choose(60.0, 240.0))
        trials += [{"fault": "deadlock"}] * deadlocks
        plan.say(f"  {deadlocks} deadlocks, of which the product lost one side each")
        assert back.traffic is not None
        under_traffic = back.traffic.going
        back.traffic.stop()
        drained = back.settle()
        plan.say(f"  drained {drained:.1f} s after the traffic; comparing")
        verdict = back.judge()
    except UnexpectedError as error:
        return Outcome(len(trials), None, None, passed=False, detail={"trials": trials, "told": str(error)})
    finally:
        back.close()
    late = [trial for trial in trials if trial.get("flip_seconds", 0.0) > FLIP_SECONDS]
    detail = {
        "trials": trials,
        **verdict.told(),
        "ended_and_started_again": {name: process.ends for name, process in back.processes.items() if process.ends},
        "drain_seconds": round(drained, 1),
        "late_to_flip": late,
    }
    passed = verdict.exact and not late and under_traffic and deadlocks >= wanted
    return Outcome(len(trials), verdict.lost.total(), verdict.doubled.total(), passed, detail=detail)


def _kill(back: Back, _away: float) -> dict[str, Any]:
    """End the server in mid-sentence; its next start recovers from its log."""
    back.postgres.kill()
    back.postgres.start(timeout=_RECOVER_SECONDS)
    return {"ready_again_seconds": _recovered(back)}


def _down(back: Back, away: float) -> dict[str, Any]:
    """Stop the server in order, and leave it away."""
    back.postgres.stop()
    began = time.monotonic()
    flipped = back.flip()
    time.sleep(max(0.0, away - (time.monotonic() - began)))
    back.postgres.start(timeout=_RECOVER_SECONDS)
    return {"away_seconds": away, "flip_seconds": flipped, "ready_again_seconds": _recovered(back)}


def _read_only(back: Back, _away: float) -> dict[str, Any]:
    """Let sessions read only, as a server does after a failover to a standby."""
    _every_session(back, "ALTER DATABASE {} SET default_transaction_read_only = on")
    # The console goes on to show what is there; whoever must write says that it cannot.
    flipped = back.flip(apart=("console",))
    _every_session(back, "ALTER DATABASE {} RESET default_transaction_read_only")
    return {"flip_seconds": flipped, "ready_again_seconds": _recovered(back)}


def _every_session(back: Back, statement: str) -> None:
    """Change the database's setting and end every session, so that all have it."""
    with psycopg.connect(_plain(back), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL(statement).format(name))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _deadlocks(back: Back, wanted: int, seconds: float) -> int:
    """Lock rows that the sink writes in another order than it, until Postgres has counted so many deadlocks."""
    over = threading.Event()
    saboteur = threading.Thread(target=_sabotage, args=(back, over), daemon=True)
    before = _count_deadlocks(back)
    saboteur.start()
    deadline = time.monotonic() + seconds
    while _count_deadlocks(back) - before < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    over.set()
    saboteur.join(60)
    return _count_deadlocks(back) - before


def _sabotage(back: Back, over: threading.Event) -> None:
    dice = Random(0)  # noqa: S311 - a trial must be repeatable
    hot = [make_alert(number).alert_id for number in range(HOT)]
    with psycopg.connect(_plain(back)) as connection:
        # Who waits for longest notices and loses: it shall be the product.
        connection.execute("SET deadlock_timeout = '20s'")
        connection.commit()
        while not over.is_set():
            for alert_id in dice.sample(hot, HOT):
                connection.execute(
                    "SELECT 1 FROM alerts WHERE tenant = %s AND alert_id = %s FOR UPDATE", (TORN, alert_id)
                )
                time.sleep(0.05)
            connection.commit()
            over.wait(0.3)


def _count_deadlocks(back: Back) -> int:
    ((count,),) = back.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


def _recovered(back: Back) -> float:
    return round(back.wait(back.all_ready, _RECOVER_SECONDS, "every process is ready again"), 1)


def _plain(back: Back) -> str:
    return back.postgres.url.replace("+psycopg", "")
