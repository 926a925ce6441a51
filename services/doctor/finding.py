"""One answer of the doctor, and asking so that one question that fails keeps no other from being asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from confluent_kafka import KafkaException

from services.adapters.postgres.engine import describe
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` says what to do, and is "" where all is well."""

    check: str
    state: State
    detail: str
    advice: str = ""


def ask(check: str, question: Callable[[], Finding]) -> Finding:
    """Give the answer; what a question raises is one, told by our words or its class, never by a foreign text."""
    try:
        return question()
    except StillwatchError as error:
        return Finding(check, "failed", str(error), error.hint or "See the log of what it speaks of.")
    except KafkaException as error:
        return Finding(check, "failed", f"the broker says {error.args[0].name()}", "See the broker's log.")
    except Exception as error:  # noqa: BLE001 - a check that cannot be made is an answer too
        return Finding(check, "failed", f"cannot be asked: {describe(error)}", "Mend what the others found first.")
