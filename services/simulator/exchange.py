"""One request with its answer, as any gateway sees it, and the two ways in which gateways write it down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

_MS_TOKEN: Final = 12  # A pace of 80 tokens a second.
_LATENCY_MS: Final = 200
_REJECTED: Final = 401
_ROUTE: Final = "/v1/chat/completions"


@dataclass(slots=True)
class Exchange:
    """Everything that passes through a gateway once. ``harvest`` is the truth, and is never written in a record."""

    key: str
    time_ms: int
    natural_id: str
    model: str
    agent: str
    address: str
    messages: list[dict[str, str]]
    answer: str
    settings: dict[str, Any] = field(default_factory=dict)
    organization: str = ""
    end_user: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tools: bool = False
    refused: bool = False
    rejected: bool = False
    harvest: bool = False

    @property
    def duration_ms(self) -> int:
        """Tell how long the answer took."""
        return _LATENCY_MS + self.output_tokens * _MS_TOKEN

    def parameters(self) -> dict[str, Any]:
        """Give what the client set, tools included."""
        shell = [{"type": "function", "function": {"name": "shell", "parameters": {"type": "object"}}}]
        return {**self.settings, "tools": shell} if self.tools else dict(self.settings)

    def response(self) -> dict[str, Any]:
        """Give the answer's body."""
        cut = self.settings.get("max_tokens")
        finish = "length" if cut is not None and self.output_tokens >= cut else "stop"
        choices = [
            {"index": index, "finish_reason": finish, "message": {"role": "assistant", "content": self.answer}}
            for index in range(int(self.settings.get("n", 1)))
        ]
        return {
            "id": f"chatcmpl-{self.natural_id}",
            "object": "chat.completion",
            "created": self.time_ms // 1000,
            "model": self.model,
            "choices": choices,
            "usage": self.usage(),
        }

    def usage(self) -> dict[str, Any]:
        """Give the billed tokens."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        }
        if self.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage


def litellm_payload(exchange: Exchange) -> dict[str, Any]:
    """Write LiteLLM's StandardLoggingPayload, the fields of it that tell something.

    A rejected call has what the proxy records of one: the key's hash and the code, no address, no client, no tokens.
    """
    start = exchange.time_ms / 1000
    end = start if exchange.rejected else (exchange.time_ms + exchange.duration_ms) / 1000
    known = not exchange.rejected
    payload: dict[str, Any] = {
        "id": f"chatcmpl-{exchange.natural_id}",
        "litellm_call_id": exchange.natural_id,
        "call_type": "acompletion",
        "stream": bool(exchange.settings.get("stream")),
        "status": "success" if known else "failure",
        "custom_llm_provider": "openai",
        "startTime": start,
        "endTime": end,
        "completionStartTime": start + (_LATENCY_MS / 1000 if known else 0.0),
        "model": f"openai/{exchange.model}",
        "model_group": exchange.model,
        "metadata": {
            "user_api_key_hash": exchange.key,
            "user_api_key_org_id": exchange.organization or None,
            "user_api_key_team_id": None,
            "user_api_key_end_user_id": exchange.end_user or None,
            "user_api_key_request_route": _ROUTE,
            "requester_ip_address": exchange.address if known else None,
            "user_agent": exchange.agent if known else None,
            "usage_object": exchange.usage() if known else None,
        },
        "prompt_tokens": exchange.input_tokens if known else 0,
        "completion_tokens": exchange.output_tokens if known else 0,
        "total_tokens": exchange.input_tokens + exchange.output_tokens if known else 0,
        "end_user": exchange.end_user,
        "requester_ip_address": exchange.address if known else None,
        "user_agent": exchange.agent if known else None,
        "messages": exchange.messages,
        "response": exchange.response() if known else {},
        "model_parameters": exchange.parameters() if known else {},
    }
    if exchange.rejected:
        payload["error_information"] = {"error_code": str(_REJECTED), "error_class": "AuthenticationError"}
    return payload
