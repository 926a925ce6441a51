"""One engine for each process, and the answer to one question: may a failed transaction pass if it is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy import create_engine as sqlalchemy_create_engine
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Classes of SQLSTATE that pass by themselves: connection, rollback for concurrency, resources, operator intervention.
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "57")
_TRANSIENT_STATES: Final = frozenset(
    {
        "25006",  # Read-only: the server is a standby, or about to be promoted.
        "55P03",  # A lock was not granted in time.
        "25P03",  # The session was ended for idling in a transaction.
    }
)
# What libpq says where it gets no session, and what that means.
_NO_SESSION: Final = (
    ("certificate verify failed", "the server's certificate is not to be trusted"),
    ("server certificate for", "the server's certificate is another name's"),
    ("root certificate file", "the authority's certificate is not where the URL says"),
    ("does not support SSL", "the server speaks no TLS"),
    ("password authentication failed", "the server refuses the login"),
    ("no pg_hba.conf entry", "the server takes no such connection"),
    ("Connection refused", "nothing listens there"),
)


def create_engine(
    url: str, *, process: str, pool_size: int = 5, statement_timeout_ms: int = 30_000, connect_timeout_s: int = 5
) -> Engine:
    """Make an engine on psycopg 3. No connection is opened here.

    Sessions are in UTC, carry the process's name, and give up a statement after ``statement_timeout_ms``.
    """
    options = f"-c statement_timeout={statement_timeout_ms} -c lock_timeout=10000 -c timezone=UTC"
    return sqlalchemy_create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        # A dead peer is noticed in seconds, not after the kernel's two hours.
        connect_args={
            "options": options,
            "application_name": f"stillwatch-{process}",
            "connect_timeout": connect_timeout_s,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
        # An exception's text may reach a log: it must not carry the values of a row.
        hide_parameters=True,
    )


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may pass later: a lost connection, a deadlock, a read-only or full server."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        return error.orig is not None and is_transient(error.orig)
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        # The client library's own: the server was never reached, or went away in mid-sentence.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in _TRANSIENT_CLASSES or error.sqlstate in _TRANSIENT_STATES


def describe(error: BaseException) -> str:
    """Name an error for a log: class and SQLSTATE, never its text, which may quote a row.

    Where no session came about, say why in words of ours: the library has no code for it.
    """
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    state = getattr(cause, "sqlstate", None)
    if state:
        return f"{type(cause).__name__} {state}"
    told = str(cause) if isinstance(cause, psycopg.OperationalError) else ""
    why = next((f": {ours}" for theirs, ours in _NO_SESSION if theirs in told), "")
    return f"{type(cause).__name__}{why}"
