"""The boundary: a parsed request in clear becomes an event without text and without raw identifiers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from detection.columns import Flag
from detection.text.sketch import Sketcher
from schemas.request_event import RequestEvent, Sketch
from services.gateway.names import clean_name, client_family, error_type
from services.gateway.parsed import as_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.text.conversation import Conversation
    from services.gateway.identity import Identity
    from services.gateway.parsed import ParsedRequest

_ACCOUNTS_REMEMBERED: Final = 4096
_SENTENCES_REMEMBERED: Final = 256
_REASONS: Final = 16
_DIGITS: Final = 3


class AccountResponses:
    """One account's last 256 answered sentences, as keyed hashes (``detection.text.sketch.SeenResponses``)."""

    def __init__(self) -> None:
        self._sentences: OrderedDict[int, None] = OrderedDict()

    def overlap(self, sentences: Sequence[int]) -> set[int]:
        """Give those that an earlier response held."""
        return {sentence for sentence in sentences if sentence in self._sentences}

    def remember(self, sentences: Sequence[int]) -> None:
        """Keep the sentences of a response; the oldest go first."""
        for sentence in sentences:
            self._sentences[sentence] = None
            self._sentences.move_to_end(sentence)
        while len(self._sentences) > _SENTENCES_REMEMBERED:
            self._sentences.popitem(last=False)


class ResponseMemory:
    """The sentences answered to the 4,096 accounts seen last: 20 KB each at most. Lost on restart, by design."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, AccountResponses] = OrderedDict()

    def of(self, account: str) -> AccountResponses:
        """Give the memory of one account, an empty one where it is new or was forgotten."""
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = AccountResponses()
            if len(self._accounts) > _ACCOUNTS_REMEMBERED:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(account)
        return found


class EventMaker:
    """Makes events of one tenant. ``remember`` keeps sentences of answers, so that echoes are found. One thread."""

    def __init__(self, identity: Identity, *, remember: bool = True) -> None:
        self._identity = identity
        self._sketcher = Sketcher(identity.text_key())
        self._memory = ResponseMemory() if remember else None

    def to_event(self, parsed: ParsedRequest, place: str = "") -> RequestEvent:
        """Key the identifiers, sketch the text, and clean the names that clients choose.

        ``place`` tells records apart that carry no id of their own (a file's line number).
        """
        identity = self._identity
        account = identity.account(parsed.account_raw)
        address, network = identity.places(parsed.client_address)
        bias = parsed.logit_bias
        parts = parsed.natural_id or (place,)
        return RequestEvent(
            event_id=identity.event(account, str(parsed.time_unix_ms), *parts),
            time_unix_ms=parsed.time_unix_ms,
            account=account,
            key_version=identity.key_version,
            organization=identity.identifier("organization", parsed.organization_raw),
            end_user=identity.identifier("end_user", parsed.end_user_raw),
            gen_ai_request_model=clean_name(parsed.model),
            gen_ai_provider_name=clean_name(parsed.provider),
            gen_ai_operation_name=parsed.operation,
            gen_ai_usage_input_tokens=parsed.input_tokens,
            gen_ai_usage_output_tokens=parsed.output_tokens,
            gen_ai_usage_reasoning_output_tokens=parsed.reasoning_tokens,
            gen_ai_usage_cache_read_input_tokens=parsed.cached_tokens,
            gen_ai_request_max_tokens=parsed.max_tokens,
            gen_ai_request_temperature=_setting(parsed.temperature),
            gen_ai_request_top_p=_setting(parsed.top_p),
            gen_ai_request_choice_count=parsed.choices,
            gen_ai_request_stream=parsed.stream,
            gen_ai_response_finish_reasons=[clean_name(reason) for reason in parsed.finish_reasons[:_REASONS]],
            time_to_first_chunk_ms=None if parsed.first_chunk_ms is None else as_count(parsed.first_chunk_ms),
            duration_ms=as_count(parsed.duration_ms),
            error_type=error_type(parsed.error),
            client_family=client_family(parsed.user_agent),
            client_address=address,
            client_network=network,
            logprobs=parsed.logprobs,
            logit_bias=identity.identifier("logit_bias", _bias_text(bias)) if bias else "",
            logit_bias_count=len(bias) if bias else 0,
            tools_count=parsed.tools,
            multi_turn=parsed.conversation.is_multi_turn,
            sketch=self._sketch(parsed.conversation, account),
        )

    def _sketch(self, conversation: Conversation, account: str) -> Sketch | None:
        seen = self._memory.of(account) if self._memory is not None else None
        made = self._sketcher.sketch(conversation, seen)
        if made.flags & Flag.TEXT_UNAVAILABLE:
            return None
        return Sketch(
            ladder=made.ladder,
            projection=made.projection,
            segments=made.segments,
            boundaries=made.boundaries,
            last_turn=made.last_turn,
            response=made.response,
            flags=made.flags,
        )


def _setting(value: float | None) -> float | None:
    # A client could write a message into the digits of a temperature; three decimals are what samplers can tell apart.
    return None if value is None else round(min(max(value, -1e3), 1e3), _DIGITS)


def _bias_text(bias: dict[str, object]) -> str:
    return msgspec.json.encode(sorted((str(token), str(weight)) for token, weight in bias.items())).decode()
