"""Synthetic requests as a gateway writes them: RequestEvent v1 in JSON, with sketches, keyed by account.

z20k: 20,000 accounts by Zipf's law, and a hot key with 30 % of the traffic. Which account asks is drawn for each
request, so that any prefix of the stream is a sample of the same traffic.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.request_event import RequestEvent, Sketch

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS: Final = 20_000
HOT_SHARE: Final = 0.3
_TEMPLATES: Final = 500
_MODELS: Final = ("gpt-5.2", "gpt-5.2-mini", "claude-sonnet-5", "claude-opus-5")
_CLIENTS: Final = ("openai-python", "curl", "litellm", "langchain", "axios")
_encoder = msgspec.json.Encoder()


def stream(
    count: int, begin_ms: int, rate: float, *, accounts: int = ACCOUNTS, uniform: bool = False, seed: int = 1
) -> Iterator[tuple[bytes, bytes]]:
    """Give keys and values of ``count`` requests, ``rate`` a second of event time, up to 2 s out of order.

    By Zipf's law and with a hot key, or ``uniform``.
    """
    dice = random.Random(seed)  # noqa: S311 - a benchmark must be repeatable
    ids = [f"{dice.getrandbits(64):016x}" for _ in range(accounts)]
    weights = None if uniform else list(accumulate(1.0 / rank for rank in range(1, accounts + 1)))
    prompts: dict[int, bytes] = {}
    who = dice.choices(range(accounts), cum_weights=weights, k=count)
    for number, drawn in enumerate(who):
        account = 0 if not uniform and dice.random() < HOT_SHARE else drawn
        time_ms = begin_ms + int(number * 1000 / rate) - dice.randrange(2_000)
        event = _request(dice, number, account, ids[account], time_ms, prompts)
        yield event.account.encode(), _encoder.encode(event)


def _request(
    dice: random.Random, number: int, account: int, name: str, time_ms: int, prompts: dict[int, bytes]
) -> RequestEvent:
    failed = dice.random() < 0.03
    biased = account % 50 == 7
    # A third of the requests continue the account's last conversation.
    earlier = prompts.get(account, b"") if dice.random() < 1 / 3 else b""
    boundary = dice.randbytes(8)
    prompts[account] = boundary
    return RequestEvent(
        event_id=f"{dice.getrandbits(128):032x}",
        time_unix_ms=time_ms,
        account=name,
        organization=f"{account % 4_000 + 1:016x}" if account % 3 else "",
        gen_ai_request_model=_MODELS[account % len(_MODELS)],
        gen_ai_provider_name="openai",
        gen_ai_usage_input_tokens=dice.randrange(10, 5_000),
        gen_ai_usage_output_tokens=0 if failed else dice.randrange(1, 2_000),
        gen_ai_usage_reasoning_output_tokens=dice.randrange(500) if account % 4 == 3 and not failed else 0,
        gen_ai_request_max_tokens=4_096 if account % 2 else None,
        gen_ai_request_temperature=(account % 11) / 10,
        gen_ai_request_stream=bool(account % 2),
        gen_ai_response_finish_reasons=[] if failed else ["stop" if dice.random() < 0.9 else "length"],
        time_to_first_chunk_ms=dice.randrange(100, 900) if account % 2 else None,
        duration_ms=dice.randrange(200, 20_000),
        error_type="429" if failed else "",
        client_family=_CLIENTS[account % len(_CLIENTS)],
        client_address=f"{account % 9_000 + 1:016x}",
        client_network=f"{account % 5_000 + 1:016x}",
        logprobs=account % 40 == 3,
        logit_bias=f"{dice.getrandbits(64) | 1:016x}" if biased else "",
        logit_bias_count=5 if biased else 0,
        multi_turn=bool(earlier),
        sketch=None if dice.random() < 0.01 else _sketch(dice, account, earlier + boundary, answered=not failed),
    )


def _sketch(dice: random.Random, account: int, boundaries: bytes, *, answered: bool) -> Sketch:
    # A third of the prompts follow the account's own template, the rest are new; some are too short for a ladder.
    if dice.random() < 1 / 3:
        ladder = random.Random(account % _TEMPLATES).randbytes(72)  # noqa: S311 - the same template each time
    elif dice.random() < 0.2:
        ladder = dice.randbytes(16) + bytes(56)
    else:
        ladder = dice.randbytes(72)
    return Sketch(
        ladder=ladder,
        projection=dice.randbytes(32),
        segments=dice.randbytes(32),
        boundaries=boundaries,
        last_turn=f"{dice.getrandbits(64) | 1:016x}",
        response=f"{dice.getrandbits(64) | 1:016x}" if answered else "",
        flags=dice.choice((0, 0, 0, 1, 2, 4, 8, 16)),
    )
