"""The error tree of the services. The message says what is wrong, the hint what to do next; the CLI prints both.

Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations


class StillwatchError(Exception):
    """Something that a user can act on: one line and a hint, never a traceback unless ``--debug``.

    ``exit_code`` is the shell's; ``services.cli.main`` lists them.
    """

    hint: str = ""
    exit_code: int = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        if hint:
            self.hint = hint

    def __str__(self) -> str:
        """Give the sentence and what to do about it, as one line."""
        return f"{self.message} {self.hint}".rstrip()


class NotRunningError(StillwatchError):
    """A service that the command needs does not run."""

    hint = "Start one with `stillwatch up`, or set STILLWATCH_KAFKA_BOOTSTRAP_SERVERS and STILLWATCH_DATABASE_URL."
    exit_code = 4


class AlreadyRunningError(StillwatchError):
    """The data directory is in use by a living process."""

    exit_code = 5


class ConfigurationError(StillwatchError):
    """A setting or a file of settings cannot be used."""
