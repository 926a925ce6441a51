"""From a conversation to its sketch: about 290 bytes that can be compared and not read."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from detection.columns import BOUNDARIES, LADDER_WORDS, PROJECTION_DIMENSIONS, Flag
from detection.ids import to_hex
from detection.text.conversation import REDACTED, ROLE_BYTES, Conversation, Turn
from detection.text.cues import CueFinder, is_refusal
from detection.text.features import (
    pair_hashes,
    prefix_rungs,
    projection,
    segments,
    sentence_sums,
    suffix_rungs,
    wire_bytes,
)
from detection.text.words import EDGE_BYTES, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, UInt64Array
    from detection.text.keys import TextKey
    from detection.text.words import Words

ECHO_SENTENCE_WORDS: Final = 5  # Shorter sentences are said by everyone ("Let me know if this helps").
ECHO_WORDS: Final = 8  # Words of earlier answers that a prompt must repeat.
_ASKING: Final = frozenset(("user", "tool"))
_SYSTEMS_KEPT: Final = 4096
_RUNG_BYTES: Final = 1 << 10  # Most texts have their 64 words in this.


class SeenResponses(Protocol):
    """The sentences of one account's earlier responses, as keyed hashes, as many as the gateway cares to keep."""

    def overlap(self, sentences: Sequence[int]) -> set[int]:
        """Give those that an earlier response held."""

    def remember(self, sentences: Sequence[int]) -> None:
        """Keep the sentences of a response."""


@dataclass(frozen=True, slots=True)
class TextSketch:
    """The fields of ``schemas.request_event.Sketch``, by the same names and in the same bytes."""

    ladder: bytes
    projection: bytes
    segments: bytes
    boundaries: bytes
    last_turn: str
    response: str
    flags: int


UNAVAILABLE: Final = TextSketch(
    ladder=bytes(8 * (1 + 2 * len(LADDER_WORDS))),
    projection=bytes(PROJECTION_DIMENSIONS),
    segments=b"",
    boundaries=b"",
    last_turn="",
    response="",
    flags=int(Flag.TEXT_UNAVAILABLE),
)


class Sketcher:
    """Sketches conversations under one key. Not for several threads at once.

    Keeps the hashes of the last 4,096 different system prompts, because most requests repeat one; no text is kept.
    """

    def __init__(self, key: TextKey) -> None:
        self._key = key
        self._cues = CueFinder(key)
        self._systems: OrderedDict[bytes, int] = OrderedDict()

    def sketch(self, conversation: Conversation, seen: SeenResponses | None = None) -> TextSketch:
        """Sketch one request and its answer; ``UNAVAILABLE`` where the prompt is missing or redacted. Never raises.

        Prefix rungs are read from the first user message, suffix rungs from the last one. The last turn, its segments,
        projection and cues are of the last message that is neither system nor assistant, so that a tool's result counts
        as what is new. ``seen`` must be the account's own; the response is remembered in it.
        """
        if not conversation.has_text:
            return UNAVAILABLE
        turns = conversation.turns
        texts = [_encode(turn.text) for turn in turns]
        digests = [self._key.digest(text, turn.attachments) for turn, text in zip(turns, texts, strict=True)]
        asked = [place for place, turn in enumerate(turns) if turn.role in _ASKING] or [len(turns) - 1]
        users = [place for place in asked if turns[place].role == "user"] or asked
        last = asked[-1]
        data = texts[last]
        words = read_words(data, self._key)
        pairs = pair_hashes(words.hashes)
        sums, counts = sentence_sums(words)
        response = conversation.response if conversation.response and conversation.response.text != REDACTED else None
        answer = _encode(response.text) if response else b""
        flags = self._cues.find(words.hashes, pairs)
        if conversation.refused or is_refusal(answer):
            flags |= Flag.REFUSAL
        if seen is not None and self._echoes(sums, counts, answer, seen):
            flags |= Flag.ECHO
        opening = words if users[0] == last else self._opening(texts[users[0]])
        ending = words if users[-1] == last else self._ending(texts[users[-1]])
        rungs = [
            self._system([text for turn, text in zip(turns, texts, strict=True) if turn.role == "system"]),
            *prefix_rungs(opening, self._key),
            *suffix_rungs(ending, self._key),
        ]
        return TextSketch(
            ladder=b"".join(rung.to_bytes(8, "little") for rung in rungs),
            projection=projection(words.hashes, pairs),
            segments=segments(sums, self._key),
            boundaries=self._boundaries(turns, digests),
            last_turn=to_hex(self._key.hash("turn", digests[last])) if data or turns[last].attachments else "",
            response=self._response(response, answer),
            flags=int(flags),
        )

    def _response(self, response: Turn | None, answer: bytes) -> str:
        if response is None or not (answer or response.attachments):
            return ""
        return to_hex(self._key.hash("response", self._key.digest(answer, response.attachments)))

    def _system(self, texts: Sequence[bytes]) -> int:
        data = b"\n".join(texts)
        if not data:
            return 0
        state = self._key.state("system")
        state.update(data)
        exact = state.digest()
        if exact in self._systems:
            self._systems.move_to_end(exact)
            return self._systems[exact]
        words = read_words(data, self._key)
        found = self._key.hash("system", wire_bytes(words.hashes)) if len(words) else 0
        self._systems[exact] = found
        if len(self._systems) > _SYSTEMS_KEPT:
            self._systems.popitem(last=False)
        return found

    def _opening(self, data: bytes) -> Words:
        if len(data) > _RUNG_BYTES:
            words = read_words(data[:_RUNG_BYTES], self._key)
            # The last word may be cut, so one more than the longest rung is wanted.
            if len(words) > LADDER_WORDS[-1]:
                return words
        return read_words(data[:EDGE_BYTES], self._key)

    def _ending(self, data: bytes) -> Words:
        if len(data) > _RUNG_BYTES and data[-_RUNG_BYTES:].isascii():
            words = read_words(data[-_RUNG_BYTES:], self._key)
            if len(words) > LADDER_WORDS[-1]:
                return words
        return read_words(data[-EDGE_BYTES:], self._key)

    def _boundaries(self, turns: Sequence[Turn], digests: Sequence[bytes]) -> bytes:
        state = self._key.state("boundary")
        ends: list[bytes] = []
        for place, (turn, digest) in enumerate(zip(turns, digests, strict=True)):
            state.update(ROLE_BYTES[turn.role] + digest)
            if place >= len(turns) - BOUNDARIES:
                ends.append(_present(state.copy().digest()))
        return b"".join(ends)

    def _echoes(self, sums: UInt64Array, counts: Int64Array, answer: bytes, seen: SeenResponses) -> bool:
        long = counts >= ECHO_SENTENCE_WORDS
        lengths = dict(zip(sums[long].tolist(), counts[long].tolist(), strict=True))
        found = sum(lengths[known] for known in seen.overlap(list(lengths))) >= ECHO_WORDS if lengths else False
        if answer:
            sentences, sizes = sentence_sums(read_words(answer, self._key))
            seen.remember(sentences[sizes >= ECHO_SENTENCE_WORDS].tolist())
        return found


def _encode(text: str) -> bytes:
    # A lone surrogate is no character, and still tells one text from another.
    return text.encode("utf-8", "surrogatepass")


def _present(digest: bytes) -> bytes:
    return digest if any(digest) else b"\1" + digest[1:]
