"""Requests made less useful for copying a model, and no less for talking to it: the decoded body in, a new one out.

Names are those of OpenAI's chat, completions and responses, of Anthropic's messages, and what vLLM and others add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from detection.policy.ladder import Trim
    from services.gateway.routes import Api

_LOGPROBS: Final = ("logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids")
_BIAS: Final = ("logit_bias", "allowed_token_ids", "bad_words")
_REASONING: Final = ("thinking", "include_reasoning", "reasoning_format", "reasoning_content")
_SAMPLES: Final = ("n", "best_of", "num_return_sequences")
# Where each API says how long an answer may be, the preferred name first.
_LENGTH: Final[dict[Api, tuple[str, ...]]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "embeddings": (),
}


def trimmed(body: dict[str, Any], trim: Trim, api: Api) -> dict[str, Any]:
    """Give the body with what the decision leaves of it; what it does not speak of stays as it came."""
    kept = dict(body)
    if not trim.logprobs:
        _without(kept, _LOGPROBS)
    if not trim.logit_bias:
        _without(kept, _BIAS)
    if not trim.reasoning:
        _hide_reasoning(kept, api)
    for name in _SAMPLES:
        if name in kept:
            kept[name] = min(_number(kept[name], trim.n), trim.n)
    _shorten(kept, trim.max_tokens, api)
    return kept


def _hide_reasoning(body: dict[str, Any], api: Api) -> None:
    _without(body, _REASONING)
    if api == "chat":
        body["include_reasoning"] = False
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict):
        body["reasoning"] = {
            name: value for name, value in reasoning.items() if name not in {"summary", "generate_summary"}
        }
    include = body.get("include")
    if isinstance(include, list):
        unwanted = ("reasoning.", "message.output_text.logprobs")
        body["include"] = [each for each in include if not str(each).startswith(unwanted)]


def _shorten(body: dict[str, Any], most: int, api: Api) -> None:
    names = _LENGTH[api]
    given = [name for name in names if name in body]
    for name in given or names[-1:]:
        body[name] = min(_number(body.get(name), most), most)


def _number(value: object, otherwise: int) -> int:
    """Give a count as it was asked for; what is none, or below one, counts as not given."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


def _without(body: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        body.pop(name, None)
