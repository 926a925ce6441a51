"""The trials: what is done to running workers and their broker. Every choice is the dice's, so a seed replays it.

Each function disturbs a running cell and gives a row for each disturbance. Whether anything was lost is judged later,
from the logs alone (``oracle``).
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from tests.crash.cell import JOBS, SESSION_SECONDS, STOPPED, UnexpectedError
from tests.crash.faults import ASSIGNMENT_POINTS, CHECKPOINT_POINTS, REVOCATION_POINTS, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from tests.crash.cell import Cell
    from tests.crash.small_disk import SmallDisk

    Row = dict[str, Any]
    Tell = Callable[[str, str], None]

# Points that a checkpoint meets once, or once a partition: a worker is known to work before it falls there.
_LATER_POINTS: Final = ("before_outputs", "after_outputs", "after_changelog", "before_commit", "after_commit")
_FALL_SECONDS: Final = 30.0  # From the worker's start of work on; how long that takes is the machine's affair.
_START_SECONDS: Final = 300.0
_MANY: Final = {"mid_outputs": 6, "mid_rows": 30, "before_meta": 4, "after_poll": 4, "after_state": 4}


def together(calls: list[Callable[[], list[Row]]]) -> list[Row]:
    """Run them beside each other, for they wait most of their time; gives all their rows."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [row for answer in [pool.submit(call) for call in calls] for row in answer.result()]


def one_each(cell: Cell) -> None:
    """Leave worker 0 of each job, and no other: what every kind of trial begins with."""
    for job, index in list(cell.workers):
        if index:
            _put_down(cell, job, index)
    cell.mend()
    for job in JOBS:
        if (job, 0) not in cell.workers:
            cell.start(job)


def kills(cell: Cell, dice: Random, count: int, tell: Tell) -> list[Row]:
    """``kill -9`` of workers at fault points and at random moments; two workers of each job, each at its own pace."""
    names = [(job, index) for job in JOBS for index in (0, 1)]
    shares = [count // 4 + (place < count % 4) for place in range(4)]
    plans = [[_draw_kill(dice) for _ in range(share)] for share in shares]

    def play(name: tuple[str, int], plan: Sequence[tuple[Fault | None, float, bool]]) -> list[Row]:
        rows = [_kill(cell, *name, *each, tell) for each in plan]
        # Somebody works on here: the other job's workers would else have nothing left to make a checkpoint of.
        cell.start(*name)
        return rows

    return together(
        [
            lambda name=name, plan=plan: play(name, plan)  # type: ignore[misc]  # defaults bind
            for name, plan in zip(names, plans, strict=True)
        ]
    )


def _draw_kill(dice: Random) -> tuple[Fault | None, float, bool]:
    """Give a fault; or None, a delay, and whether it counts from the first checkpoint."""
    if dice.random() < 0.25:
        return None, dice.uniform(0.1, 3.0), dice.random() < 0.6
    weights = [(CHECKPOINT_POINTS, 7), (ASSIGNMENT_POINTS, 2), (REVOCATION_POINTS, 1)]
    points = dice.choices([points for points, _ in weights], [weight for _, weight in weights])[0]
    point = dice.choice(points)
    return Fault(point, meeting=dice.randint(1, _MANY.get(point, 2))), dice.uniform(0.1, 2.0), True


def _kill(
    cell: Cell, job: str, index: int, fault: Fault | None, delay: float, after_checkpoint: bool, tell: Tell
) -> Row:
    """Start a worker that falls, or that is killed after a while; the one of the next trial follows at once."""
    began = time.monotonic()
    if (job, index) in cell.workers:
        _put_down(cell, job, index)
    cell.start(job, index, fault)
    worker = cell.workers[job, index]
    if fault is not None or after_checkpoint:
        cell.wait(lambda: worker.poll() is not None or cell.working(job, index), _START_SECONDS, "it works or falls")
    if fault is not None:
        cell.wait(lambda: worker.poll() is not None, _FALL_SECONDS, "it meets its fault")
    at = fault.point if fault is not None and worker.poll() == -signal.SIGKILL else "random"
    if worker.poll() is None:
        cell.wait(lambda: worker.poll() is not None, delay, "it ends by itself, which is rare")
        worker.kill()
    status = cell.end_of(job, index, 30)
    if status not in {-signal.SIGKILL, STOPPED}:
        raise UnexpectedError(f"{job} {index} ended with {status}:\n{cell.log_of(job, index)[-3000:]}")
    drawn = fault.text() if fault is not None else "random"
    seconds = round(time.monotonic() - began, 1)
    tell("kills", f"{job} {index} killed at {at}" + (f" (drawn: {drawn})" if fault and at == "random" else ""))
    return {"job": job, "worker": index, "at": at, "drawn": drawn, "status": status, "seconds": seconds}


def _put_down(cell: Cell, job: str, index: int) -> None:
    """End an undisturbed worker, so that one with a fault can take its place."""
    worker = cell.workers.pop((job, index))
    worker.terminate()
    # One that was still loading its modules has no handler yet, and nothing to bring to an end either.
    if worker.wait(60) not in {0, -signal.SIGTERM}:
        raise UnexpectedError(f"{job} {index} ended with {worker.returncode}:\n{cell.log_of(job, index)[-3000:]}")


def zombies(cell: Cell, dice: Random, count: int, tell: Tell) -> list[Row]:
    """SIGSTOP, at points of a checkpoint or at random, until another worker has taken over; then SIGCONT."""
    plans = [[_draw_stop(dice) for _ in range(count // 2 + (place < count % 2))] for place in range(2)]
    return together(
        [lambda job=job, plan=plan: _zombies(cell, job, plan, tell) for job, plan in zip(JOBS, plans, strict=True)]  # type: ignore[misc]  # defaults bind
    )


def _draw_stop(dice: Random) -> Fault | None:
    return Fault(dice.choice(_LATER_POINTS), stop=True, meeting=dice.randint(3, 6)) if dice.random() < 0.7 else None


def _zombies(cell: Cell, job: str, plan: list[Fault | None], tell: Tell) -> list[Row]:
    rows = []
    for place, fault in enumerate(plan):
        began = time.monotonic()
        index, heir = place % 2, (place + 1) % 2
        if fault is not None:
            _put_down(cell, job, index)
            cell.start(job, index, fault)
        _expect(cell, cell.wait(lambda: cell.working(job, index), _START_SECONDS, "it works"), job, index)  # noqa: B023 - asked at once
        stopped = fault is not None and cell.wait(lambda: cell.state_of(job, index) == "T", _FALL_SECONDS, "it stops")  # noqa: B023 - as above
        zombie = cell.workers[job, index]
        if not stopped:
            zombie.send_signal(signal.SIGSTOP)
        cell.start(job, heir)
        _expect(cell, cell.wait(lambda: cell.working(job, heir), _START_SECONDS, "its heir works"), job, heir)  # noqa: B023 - as above
        zombie.send_signal(signal.SIGCONT)
        status = cell.end_of(job, index, 90)
        if status != STOPPED:
            raise UnexpectedError(f"the zombie {job} {index} ended with {status}:\n{cell.log_of(job, index)[-3000:]}")
        at = fault.point if fault is not None and stopped else "random"
        rows.append({"job": job, "at": at, "status": status, "seconds": round(time.monotonic() - began, 1)})
        tell("zombies", f"{job} stopped at {at}, replaced, woken, fenced")
    return rows


def rebalances(cell: Cell, dice: Random, count: int, tell: Tell) -> list[Row]:
    """One worker, then two or three, then one: by SIGTERM and by kill; now and then it is the first one that goes."""
    plans = [[_draw_move(dice) for _ in range(count // 2 + (place < count % 2))] for place in range(2)]
    return together(
        [lambda job=job, plan=plan: _moves(cell, job, plan, tell) for job, plan in zip(JOBS, plans, strict=True)]  # type: ignore[misc]  # defaults bind
    )


def _draw_move(dice: Random) -> tuple[int, bool, bool, float]:
    return dice.choice((1, 2)), dice.random() < 0.5, dice.random() < 0.3, dice.uniform(0.3, 2.5)


def _moves(cell: Cell, job: str, plan: list[tuple[int, bool, bool, float]], tell: Tell) -> list[Row]:
    rows = []
    first = 0
    for extra, kill, first_goes, pause in plan:
        began = time.monotonic()
        _expect(cell, cell.wait(lambda: cell.working(job, first), _START_SECONDS, "it works"), job, first)  # noqa: B023 - asked at once
        more = [(first + place) % 3 for place in range(1, extra + 1)]
        for index in more:
            cell.start(job, index)
        for index in more:
            assigned = cell.wait(
                lambda: '"partitions.assigned"' in cell.log_of(job, index),  # noqa: B023 - asked at once
                _START_SECONDS,
                "it has partitions",
            )
            _expect(cell, assigned, job, index)
        time.sleep(pause)
        stays = more[-1] if first_goes else first
        for index in [index for index in [first, *more] if index != stays]:
            cell.workers[job, index].send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            status = cell.end_of(job, index, 60)
            if status != (-signal.SIGKILL if kill else 0):
                raise UnexpectedError(f"{job} {index} ended with {status}:\n{cell.log_of(job, index)[-3000:]}")
        first = stays
        how = "kill" if kill else "SIGTERM"
        seconds = round(time.monotonic() - began, 1)
        rows.append({"job": job, "move": f"1-{extra + 1}-1", "by": how, "first_went": first_goes, "seconds": seconds})
        tell("rebalances", f"{job} 1-{extra + 1}-1 by {how}")
    return rows


def broker_restarts(cell: Cell, dice: Random, count: int, tell: Tell) -> list[Row]:
    """The broker dies, or ends in good order, in the middle of the work, and is back after a while."""
    rows = []
    for _ in range(count):
        time.sleep(dice.uniform(2.0, 6.0))
        kill, away = dice.random() < 0.6, dice.uniform(0.2, 8.0)
        (cell.broker.kill if kill else cell.broker.stop)()
        time.sleep(away)
        cell.broker.start(timeout=300)
        cell.mend()
        rows.append({"by": "kill" if kill else "SIGTERM", "away_seconds": round(away, 1)})
        tell("broker_restarts", f"broker {'killed' if kill else 'stopped'}, away for {away:.1f} s")
    time.sleep(SESSION_SECONDS)
    cell.mend()
    return rows


def disk_full(cell: Cell, disk: SmallDisk, dice: Random, count: int, tell: Tell) -> list[Row]:
    """The broker's disk fills up until it cannot write; later there is space again, and it is started again."""
    rows = []
    for _ in range(count):
        time.sleep(dice.uniform(2.0, 4.0))
        told_before = cell.broker.log.read_text(errors="replace").count("No space left on device")
        ballast = disk.fill()
        pid = cell.broker.pid

        def felt(pid: int = pid, before: int = told_before) -> bool:
            told = cell.broker.log.read_text(errors="replace").count("No space left on device")
            return told > before or not _lives(pid)

        if not cell.wait(felt, 60, "the broker cannot write"):
            raise UnexpectedError("the broker did not notice that its disk is full")
        time.sleep(dice.uniform(1.0, 5.0))
        ended = not _lives(pid)
        disk.free()
        if ended:
            cell.broker.kill()
            cell.broker.start(timeout=300)
        else:
            cell.broker.stop()
            cell.broker.start(timeout=300)
        time.sleep(3)
        cell.mend()
        told = cell.broker.log.read_text(errors="replace").count("No space left on device") - told_before
        rows.append({"ballast_bytes": ballast, "broker_ended_by_itself": ended, "lines_of_enospc": told})
        tell("disk_full", f"no space left, the broker {'ended' if ended else 'lived on'}; there is space again")
    time.sleep(SESSION_SECONDS)
    cell.mend()
    return rows


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - one line of a pseudo file
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _expect(cell: Cell, so: bool, job: str, index: int) -> None:
    if not so:
        raise UnexpectedError(f"{job} {index} does not get to work:\n{cell.log_of(job, index)[-3000:]}")
