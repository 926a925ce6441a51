"""The error tree of the services. The message says what is wrong, the hint what to do next; the CLI prints both."""

from __future__ import annotations


class StillwatchError(Exception):
    """Something that a user can act on: one line and a hint, never a traceback unless ``--debug``."""

    hint: str = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class NotRunningError(StillwatchError):
    """No broker or database is named, and no embedded one runs here."""

    hint = "Start one with `stillwatch up`, or set STILLWATCH_KAFKA_BOOTSTRAP_SERVERS and STILLWATCH_DATABASE_URL."


class ConfigurationError(StillwatchError):
    """A setting or a file of settings cannot be used."""
