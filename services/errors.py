"""The one error tree of the services: what a person can act on, told without a traceback.

Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations


class StillwatchError(Exception):
    """Something that a person can mend.

    `message` is one sentence, `hint` says what to do next, `exit_code` is the shell's.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the sentence and what to do about it, as one line."""
        return f"{self.message} {self.hint}".rstrip()


class NotRunningError(StillwatchError):
    """A service that the command needs does not run."""

    exit_code = 4


class AlreadyRunningError(StillwatchError):
    """The data directory is in use by a living process."""

    exit_code = 5
