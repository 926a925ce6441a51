"""The sink's retry: bounded, for what passes by itself and for nothing else."""

from __future__ import annotations

import threading
from itertools import pairwise

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import OperationalError, ProgrammingError

from services.adapters.postgres.engine import describe, is_transient
from services.adapters.retry import Backoff, Stopped, keep_trying


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.DeadlockDetected(), True),
        (errors.SerializationFailure(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.AdminShutdown(), True),
        (errors.CannotConnectNow(), True),
        (errors.TooManyConnections(), True),
        (errors.LockNotAvailable(), True),
        (errors.ConnectionFailure(), True),
        (psycopg.OperationalError("connection refused"), True),
        (errors.UndefinedTable(), False),
        (errors.NotNullViolation(), False),
        (errors.NumericValueOutOfRange(), False),
        (errors.InsufficientPrivilege(), False),
        (ValueError(), False),
    ],
)
def test_what_passes_by_itself(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient
    if isinstance(error, psycopg.Error):
        assert is_transient(OperationalError("select", {}, error)) is transient


def test_waits_double_to_a_bound_and_end_with_the_budget() -> None:
    backoff = Backoff(first=1.0, longest=8.0, budget=30.0)
    waits: list[float] = []
    while (wait := backoff.wait(len(waits) + 1, sum(waits))) is not None:
        waits.append(wait)
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]  # 23 s; the next 8 would pass 30.
    assert all(later >= earlier for earlier, later in pairwise(waits))


def test_a_passing_error_is_tried_again_until_it_passes() -> None:
    failures = [errors.DeadlockDetected(), errors.AdminShutdown()]

    def act() -> str:
        if failures:
            raise OperationalError("select", {}, failures.pop())
        return "done"

    assert keep_trying(act, threading.Event(), Backoff(0.001, 0.001, 1.0), "act") == "done"


def test_a_lasting_error_is_raised_at_once() -> None:
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        raise ProgrammingError("select", {}, errors.UndefinedTable())

    with pytest.raises(ProgrammingError):
        keep_trying(act, threading.Event(), Backoff(), "act")
    assert calls == [1]


def test_a_spent_budget_raises_the_error() -> None:
    def act() -> None:
        raise OperationalError("select", {}, errors.AdminShutdown())

    with pytest.raises(OperationalError):
        keep_trying(act, threading.Event(), Backoff(0.001, 0.001, 0.003), "act")


def test_a_stop_cuts_the_wait_short() -> None:
    stop = threading.Event()

    def act() -> None:
        stop.set()
        raise OperationalError("select", {}, errors.AdminShutdown())

    with pytest.raises(Stopped):
        keep_trying(act, stop, Backoff(60.0, 60.0, 600.0), "act")


def test_an_error_is_named_without_its_text() -> None:
    error = OperationalError("insert", {"reason": "secret"}, errors.DeadlockDetected("row (secret)"))
    assert describe(error) == "DeadlockDetected 40P01"
