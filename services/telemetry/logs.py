"""structlog for every process: JSON lines, or colours on a terminal. One canonical line per unit of work.

Log-event names are the closed table of ``services.telemetry.log_events``: a reader can search for one, and the docs
list them all.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def shared_processors() -> list[Processor]:
    """Give the processors that every line passes, ours and the libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def renderer(log_format: str) -> list[Processor]:
    """Give the last processors: JSON, or colours where a person reads along.

    Tracebacks come without local variables, which both of structlog's defaults print: they may hold a prompt.
    """
    if log_format == "console" or (log_format == "auto" and sys.stderr.isatty()):
        # Colours for a terminal only: under `stillwatch up` the lines pass a pipe, and stay in a file.
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    bare = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(bare), structlog.processors.JSONRenderer()]


def formatter_config(log_format: str) -> dict[str, Any]:
    """Give a ``logging`` formatter entry that renders the libraries' lines as ours (Faust takes it)."""
    return {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer(log_format)],
        "foreign_pre_chain": shared_processors(),
    }


def configure_logs(process: str, level: str = "info", log_format: str = "auto") -> None:
    """Send every log line of this process to stderr, with ``process`` in it. Idempotent."""
    structlog.configure(
        processors=[*shared_processors(), *renderer(log_format)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    formatter = formatter_config(log_format)
    handler.setFormatter(formatter.pop("()")(**formatter))
    logging.basicConfig(handlers=[handler], level=level.upper() if level != "info" else "WARNING", force=True)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Give a logger; its events are names like ``checkpoint.done`` with key-value pairs."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
