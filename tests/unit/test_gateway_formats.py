from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detection.columns import Flag
from schemas.columns import decode_events
from services.gateway.formats import litellm, openai
from services.gateway.formats.messages import read_answer, read_messages, read_prompt
from services.gateway.formats.sse import join_chunks
from services.gateway.identity import Identity
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number
from services.gateway.sketching import EventMaker

if TYPE_CHECKING:
    from schemas.request_event import RequestEvent

IDENTITY = Identity(b"0123456789abcdef0123456789abcdef")
MAKER = EventMaker(IDENTITY, remember=False)


def pair(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "api_key": "sk-1",
        "started_at": 1_700_000_000.5,
        "ended_at": "2023-11-14T22:13:22Z",
        "first_chunk_at": 1_700_000_000.75,
        "status": 200,
        "request": {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}],
            "temperature": 0.70001,
            "top_p": None,
            "max_tokens": 50,
            "n": 2,
            "stream": True,
            "logprobs": True,
            "logit_bias": {"50256": -100},
            "tools": [{"type": "function"}],
            "user": "u-1",
        },
        "response": {
            "id": "chatcmpl-1",
            "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Rhine"}}],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "completion_tokens_details": {"reasoning_tokens": 2},
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        },
    }
    return record | changes


def litellm_record(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": "chatcmpl-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "status": "success",
        "startTime": 1_700_000_000.5,
        "endTime": 1_700_000_002.0,
        "completionStartTime": 1_700_000_000.75,
        "model": "openai/gpt-4o",
        "model_group": "teacher",
        "custom_llm_provider": "openai",
        "metadata": {"user_api_key_hash": "sk-1", "user_api_key_team_id": "team", "user_api_key_end_user_id": "u-1"},
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "model_parameters": {"stream": True, "temperature": 0.7},
        "messages": [{"role": "user", "content": "Name a river."}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Rhine"}}]},
    }
    return record | changes


def event_of(parsed: ParsedRequest) -> RequestEvent:
    event = MAKER.to_event(parsed, "test:1")
    decoded = decode_events([msgspec.json.encode(event)])
    assert not decoded.rejects
    return event


def test_an_openai_pair_tells_everything_that_it_knows() -> None:
    event = event_of(openai.parse(pair(user_agent="OpenAI/Python 1.2", client_address="203.0.113.9", organization="o")))
    assert event.time_unix_ms == 1_700_000_000_500
    assert event.account == IDENTITY.account("sk-1")
    assert event.end_user == IDENTITY.identifier("end_user", "u-1")
    assert event.organization == IDENTITY.identifier("organization", "o")
    assert (event.client_address, event.client_network) == IDENTITY.places("203.0.113.9")
    assert event.gen_ai_request_model == "gpt-4o"
    assert event.gen_ai_usage_input_tokens == 9
    assert event.gen_ai_usage_output_tokens == 3
    assert event.gen_ai_usage_reasoning_output_tokens == 2
    assert event.gen_ai_usage_cache_read_input_tokens == 4
    assert event.gen_ai_request_max_tokens == 50
    assert event.gen_ai_request_temperature == 0.7
    assert event.gen_ai_request_top_p is None
    assert event.gen_ai_request_choice_count == 2
    assert event.gen_ai_response_finish_reasons == ["length"]
    assert event.duration_ms == 1500
    assert event.time_to_first_chunk_ms == 250
    assert event.client_family == "openai"
    assert event.logprobs
    assert event.logit_bias_count == 1
    assert event.tools_count == 1
    assert event.error_type == ""
    assert not event.multi_turn
    assert event.sketch is not None
    assert event.sketch.response


def test_an_account_is_preferred_to_the_credential() -> None:
    assert openai.parse(pair(account="acct")).account_raw == "acct"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request": None}, "schema"),
        ({"api_key": None}, "no_account"),
        ({"started_at": None}, "no_time"),
        ({"started_at": "yesterday"}, "no_time"),
        ({"started_at": float("nan")}, "no_time"),
        ({"started_at": 1e300}, "no_time"),
        ({"started_at": -5}, "no_time"),
    ],
)
def test_openai_rejections_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as caught:
        openai.parse(pair(**changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", ["2023-11-14T22:13:20.5Z", "2023-11-14T23:13:20.500+01:00", "2023-11-14 22:13:20.5"])
def test_times_are_rfc_3339_as_well(value: str) -> None:
    assert openai.read_time(value) == 1_700_000_000_500


def test_a_stream_sketches_as_its_joined_answer() -> None:
    lines: list[Any] = [
        {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        'data: {"choices":[{"index":0,"delta":{"content":"Rhi"}}]}',
        ": keep-alive",
        {"choices": [{"index": 0, "delta": {"content": "ne"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
        "data: [DONE]",
    ]
    whole, streamed = event_of(openai.parse(pair())), event_of(openai.parse(pair(response=lines)))
    assert whole.sketch is not None
    assert streamed.sketch is not None
    assert streamed.sketch.response == whole.sketch.response
    assert streamed.gen_ai_usage_output_tokens == 3
    assert streamed.gen_ai_response_finish_reasons == ["stop"]
    assert streamed.event_id == whole.event_id


def test_streamed_tool_calls_and_refusals_are_joined() -> None:
    body = join_chunks(
        [
            {
                "choices": [
                    {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "ls", "arguments": "{"}}]}}
                ]
            },
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}}]},
            {"choices": [{"index": 1, "delta": {"refusal": "No."}}]},
        ]
    )
    answer, refused = read_answer(body)
    assert refused
    assert answer is not None
    assert answer.text == "No."
    call = {"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    whole, _ = read_answer({"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]})
    assert whole is not None
    assert answer.attachments == whole.attachments
    assert len(answer.attachments) == 1


def test_legacy_and_responses_apis_and_anthropic_are_read() -> None:
    assert [turn.text for turn in read_prompt({"prompt": ["a", "b"]})] == ["a", "b"]
    assert read_prompt({"prompt": [1, 2, 3]})[0].attachments
    turns = read_prompt(
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "name": "ls", "arguments": "{}"},
                {"type": "function_call_output", "output": "a.txt"},
            ],
        }
    )
    assert [(turn.role, turn.text) for turn in turns] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", ""),
        ("tool", "a.txt"),
    ]
    answer, _ = read_answer({"output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]})
    assert answer is not None
    assert answer.text == "yes"
    claude, refused = read_answer({"content": [{"type": "text", "text": "no"}], "stop_reason": "refusal"})
    assert (claude.text if claude else None, refused) == ("no", True)
    nested = read_messages(
        [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "x"}]}]}]
    )
    assert nested[0].text == "x"


def test_an_image_is_told_by_its_address_and_text_parts_are_text() -> None:
    def turn(url: str) -> Any:
        parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        return read_messages([{"role": "user", "content": parts}])[0]

    assert turn("https://example.com/a.png").text == "what is this?"
    assert turn("https://example.com/a.png").attachments == turn("https://example.com/a.png").attachments
    assert turn("https://example.com/a.png").attachments != turn("https://example.com/b.png").attachments


def test_a_litellm_record_tells_everything_that_it_knows() -> None:
    event = event_of(litellm.parse(litellm_record(requester_ip_address="203.0.113.9", user_agent="curl/8")))
    assert event.time_unix_ms == 1_700_000_000_500
    assert event.account == IDENTITY.account("sk-1")
    assert event.organization == IDENTITY.identifier("organization", "team")
    assert event.gen_ai_request_model == "teacher"
    assert event.gen_ai_provider_name == "openai"
    assert event.gen_ai_request_stream
    assert event.time_to_first_chunk_ms == 250
    assert event.duration_ms == 1500
    assert event.client_family == "curl"
    assert event.gen_ai_response_finish_reasons == ["stop"]


def test_redacted_litellm_records_have_no_sketch() -> None:
    redacted = [{"role": "user", "content": "redacted-by-litellm"}]
    response = {"choices": [{"finish_reason": "stop", "message": {"content": "redacted-by-litellm"}}]}
    for messages in (redacted, "redacted-by-litellm"):
        event = event_of(litellm.parse(litellm_record(messages=messages, response=response)))
        assert event.sketch is None
        flags = decode_events([msgspec.json.encode(event)]).columns["flags"][0]
        assert flags & Flag.TEXT_UNAVAILABLE
    kept = event_of(litellm.parse(litellm_record(response={"text": "redacted-by-litellm"}))).sketch
    assert kept is not None
    assert not kept.response


def test_a_litellm_failure_needs_neither_tokens_nor_address() -> None:
    failure = litellm_record(
        status="failure",
        messages=[],
        response={},
        prompt_tokens=0,
        completion_tokens=0,
        model_parameters={},
        error_information={"error_code": "401", "error_class": "AuthError", "error_message": "bad key sk-secret"},
    )
    event = event_of(litellm.parse(failure))
    assert event.error_type == "401"
    assert b"secret" not in msgspec.json.encode(event)
    failure["error_information"]["error_code"] = ""
    assert event_of(litellm.parse(failure)).error_type == "AuthError"
    failure["error_information"] = None
    assert event_of(litellm.parse(failure)).error_type == "Exception"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"metadata": None}, "schema"), ({"metadata": {}}, "no_account"), ({"startTime": None}, "no_time")],
)
def test_litellm_rejections_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as caught:
        litellm.parse(litellm_record(**changes))
    assert caught.value.reason == reason


def test_an_echo_is_seen_within_an_account_and_not_across() -> None:
    maker = EventMaker(IDENTITY)
    answer = "The aurora is made by charged particles from the sun. They follow the field lines of the earth."
    said = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    maker.to_event(openai.parse(pair(response=said)))
    asked = {"model": "m", "messages": [{"role": "user", "content": f"Is this right?\n{answer}"}]}
    own = maker.to_event(openai.parse(pair(request=asked)))
    other = maker.to_event(openai.parse(pair(request=asked, api_key="sk-2")))
    assert own.sketch is not None
    assert other.sketch is not None
    assert own.sketch.flags & Flag.ECHO
    assert not other.sketch.flags & Flag.ECHO


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "function",
                    "image_url",
                    "url",
                    "choices",
                    "message",
                    "delta",
                    "index",
                    "finish_reason",
                    "usage",
                    "prompt_tokens",
                    "output",
                    "prompt",
                    "input",
                    "messages",
                    "model",
                    "logit_bias",
                    "n",
                    "tools",
                    "id",
                    "stop_reason",
                    "refusal",
                    "response",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(pair(), JSON)))
@example({"started_at": 1e308})
@example({"first_chunk_at": 1e12, "ended_at": 1e12})
def test_no_shape_of_an_openai_pair_is_a_crash(record: dict[str, Any]) -> None:
    try:
        parsed = openai.parse(pair(**record))
    except RejectedRecord:
        return  # The one answer besides an event.
    event_of(parsed)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(litellm_record(), JSON)))
@example({"startTime": 1e308})
@example({"completionStartTime": 1e12, "endTime": 1e12})
def test_no_shape_of_a_litellm_record_is_a_crash(record: dict[str, Any]) -> None:
    try:
        parsed = litellm.parse(litellm_record(**record))
    except RejectedRecord:
        return  # The one answer besides an event.
    event_of(parsed)


@given(JSON)
def test_numbers_are_finite_and_counts_fit(value: object) -> None:
    assert 0 <= as_count(value) < 2**31
    number = as_number(value)
    assert number is None or json.dumps(number) not in {"NaN", "Infinity", "-Infinity"}


def test_a_message_without_its_list_is_one_turn_and_a_body_in_its_place_is_opened() -> None:
    message = {"role": "user", "content": "Tell me of the sea."}
    assert read_messages(message) == read_messages([message]) == read_messages({"messages": [message]})
    assert [turn.role for turn in read_messages(message)] == ["user"]
