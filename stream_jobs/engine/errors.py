"""Why a worker stops. Each is an exit with a reason: the supervisor starts it again from the last checkpoint."""

from __future__ import annotations

from services.errors import StillwatchError


class EngineError(StillwatchError):
    """A worker cannot go on exactly, so it does not go on."""


class LayoutError(EngineError):
    """Topics are missing, or their partition counts do not fit each other."""

    hint = "Create them from the topics table: `stillwatch topics apply`."


class OffsetGapError(EngineError):
    """Offsets are missing in a source that may have no gaps: records were lost before they were read."""

    hint = (
        "Requests must be written by producers without transactions, and read before their retention ends. "
        "To accept the loss, reset the job's state topic and start it again."
    )


class TooManyInvalidError(EngineError):
    """More of the records are invalid than a producer's slips explain: the job stops instead of draining the topic."""

    hint = (
        "Nothing since the last checkpoint was counted. Mend the producer; to let the invalid records pass into the "
        "dead letters, start once with STILLWATCH_DEAD_LETTER_RATIO=1."
    )


class PartitionsLostError(EngineError):
    """The group gave this worker's partitions to another one: what is in memory here is no longer the truth."""

    hint = "The supervisor starts the worker again; if it comes back often, look at its pauses and at the broker."


class FencedError(EngineError):
    """A newer worker with the same transactional id took over."""

    hint = "Give each worker of a job its own STILLWATCH_WORKER_INDEX."


class CheckpointError(EngineError):
    """A transaction could not be completed, or nobody knows whether it was: only the log can tell, so read it again."""


class ProducerLostError(EngineError):
    """The client library gave up the producer of control records for good: partitions that are silent would stay so."""

    hint = "The supervisor starts the worker again; if it comes back often, look at the brokers' logs."


class RecoveryError(EngineError):
    """The state topic could not be read to its end in time."""

    hint = "Is the broker up? A transaction of a dead worker blocks the end of the log for half a minute at most."
