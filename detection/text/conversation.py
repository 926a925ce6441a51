"""A conversation as the sketcher reads it, whatever gateway told it. Holds text: it never leaves its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLE_BYTES: Final[dict[Role, bytes]] = {"system": b"s", "user": b"u", "assistant": b"a", "tool": b"t"}
REDACTED: Final = "redacted-by-litellm"  # What LiteLLM writes in place of every text when told not to log it.


@dataclass(frozen=True, slots=True, repr=False)
class Turn:
    """One message. ``attachments`` is what is not text: images, tool calls, as digests or canonical bytes."""

    role: Role
    text: str = ""
    attachments: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Conversation:
    """The messages of a request, in order, and the answer to it.

    ``response`` is None where there is none or where the gateway hides it. ``refused`` is True where the provider says
    so itself, outside the text.
    """

    turns: tuple[Turn, ...] = ()
    response: Turn | None = None
    refused: bool = False

    @property
    def has_text(self) -> bool:
        """Tell whether any message says something; False for none, empty ones and redacted ones."""
        return any((turn.text and turn.text != REDACTED) or turn.attachments for turn in self.turns)

    @property
    def is_multi_turn(self) -> bool:
        """Tell whether the prompt holds an earlier answer."""
        return any(turn.role == "assistant" for turn in self.turns)
