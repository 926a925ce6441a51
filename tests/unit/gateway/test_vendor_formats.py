"""Every vendor's records become the golden events, byte for byte; hostile ones never crash, and no word of any leaves.

`python tests/unit/gateway/test_vendor_formats.py` writes the golden files anew, for a reviewer to read.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from schemas.request_event import RequestEvent
from services.gateway.formats.registry import VENDORS, events_of
from services.gateway.identity import Identity
from services.gateway.intake.batch import VendorBatch
from services.gateway.parsed import RejectedRecord
from services.gateway.sketching import EventMaker

FOLDER = Path(__file__).with_name("formats")
IDENTITY = Identity(b"0123456789abcdef0123456789abcdef")
EXAMPLES = int(os.environ.get("STILLWATCH_FORMAT_EXAMPLES", "2000")) // len(VENDORS)
REASONS = {"not_json", "not_an_object", "too_large", "schema", "no_account", "no_time"}
MARK = "zebrafish"
every_vendor = pytest.mark.parametrize("name", VENDORS)


def samples(name: str) -> list[Any]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def told(name: str) -> list[Any]:
    """What becomes of the sample file's records, as JSON."""
    maker = EventMaker(IDENTITY)
    batch = VendorBatch(name, (FOLDER / f"{name}.jsonl").read_bytes(), "place")
    return [
        {"rejected": made.reason, "detail": made.detail}
        if isinstance(made, RejectedRecord)
        else json.loads(msgspec.json.encode(made))
        for made in batch.events(maker)
    ]


@every_vendor
def test_records_become_the_golden_events(name: str) -> None:
    golden = json.loads((FOLDER / f"{name}.golden.json").read_text(encoding="utf-8"))
    assert told(name) == golden
    assert sum("rejected" not in each for each in golden) >= 2
    assert sum("rejected" in each for each in golden) >= 2


def test_one_request_is_the_same_by_every_way_that_has_its_text() -> None:
    first = {name: told(name)[0] for name in VENDORS}
    for name in ("kong", "apisix", "helicone", "openai", "litellm", "jsonl"):
        assert first[name]["sketch"]["ladder"] == first["openai"]["sketch"]["ladder"], name
        assert first[name]["sketch"].get("response") == first["openai"]["sketch"]["response"], name
    for name, event in first.items():
        assert event["gen_ai_usage_input_tokens"] == 41, name
        assert event["gen_ai_usage_output_tokens"] == 23, name
        assert event["gen_ai_usage_reasoning_output_tokens"] == 5, name
        assert event["gen_ai_usage_cache_read_input_tokens"] == 8, name
        assert event["time_unix_ms"] % 1000 == 21, name
    assert "sketch" not in first["envoy"]


def fields_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(fields_of, value.values()))
    return set().union(*map(fields_of, value)) if isinstance(value, list) else set()


hostile = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(["-", "", "NaN", "1e999", "2026-01-01T00:00:00Z", "{", "[1]", "data: {", MARK, f"sk-{MARK}"]),
        st.integers(min_value=10**400, max_value=10**400 + 5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


@st.composite
def mangled(draw: st.DrawFn, name: str) -> Any:
    """A sample record in which values were replaced, dropped, renamed or added, at any depth."""
    record = json.loads(json.dumps(draw(st.sampled_from(samples(name)))))
    names = sorted(fields_of(samples(name)))
    for _ in range(draw(st.integers(0, 6))):
        place = record
        for _ in range(draw(st.integers(0, 5))):
            inner = [
                each
                for each in (place.values() if isinstance(place, dict) else place)
                if isinstance(each, (dict, list))
            ]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        if isinstance(place, dict):
            key = draw(st.sampled_from(names)) if names else "x"
            if draw(st.booleans()):
                place[key] = draw(hostile)
            elif place:
                del place[draw(st.sampled_from(sorted(place)))]
        elif place:
            place[draw(st.integers(0, len(place) - 1))] = draw(hostile)
    return record


@every_vendor
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_record_crashes_and_every_one_is_accounted_for(name: str, data: st.DataObject) -> None:
    record = data.draw(mangled(name))
    maker = EventMaker(IDENTITY)
    for made in events_of(VENDORS[name], record, maker, "p"):
        if isinstance(made, RejectedRecord):
            assert made.reason in REASONS
            assert MARK not in str(made)
            continue
        encoded = msgspec.json.encode(made)
        assert msgspec.json.decode(encoded, type=RequestEvent) == made
        assert MARK not in repr(made)
    encoded = json.dumps(record).encode("utf-8", "replace")
    for made in VendorBatch(name, encoded, "p").events(maker):
        assert isinstance(made, RejectedRecord | RequestEvent)


def words_of(value: Any) -> set[str]:
    """Every string that a record carries, at any depth."""
    if isinstance(value, dict):
        return set().union(*map(words_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(words_of, value))
    return {value} if isinstance(value, str) else set()


# What may travel: names of models, providers, operations, errors and finish reasons.
PUBLIC = {
    *(
        "gpt-4o-mini",
        "gpt-4o-mini-2024",
        "openai",
        "anthropic",
        "claude-x",
        "chat",
        "embeddings",
        "stop",
        "length",
        "e5",
    ),
    *("content_filter", "RateLimitError", "APIConnectionError", "TimeoutError", "OPENAI", "text-embed", "davinci"),
    *("teacher", "openai/gpt-4o-mini"),
}


@every_vendor
def test_no_string_of_a_record_leaves_but_names(name: str) -> None:
    out = json.dumps([each for each in told(name) if "rejected" not in each]).lower()
    for word in words_of(samples(name)) - PUBLIC:
        if len(word) >= 6 and not any(word.lower() in each.lower() for each in PUBLIC):
            assert word.lower() not in out, word


@every_vendor
def test_every_value_may_be_a_secret_and_none_leaves(name: str) -> None:
    """Each string of each sample is replaced by a marked one, one at a time."""

    def marked(value: Any) -> list[Any]:
        if isinstance(value, str):
            return [f"the {MARK} said {value}", f"sk-{MARK}-{value}", f"{MARK}@canary.example"]
        if isinstance(value, dict):
            return [{**value, key: each} for key, inner in value.items() for each in marked(inner)]
        if isinstance(value, list):
            return [[*value[:at], each, *value[at + 1 :]] for at, inner in enumerate(value) for each in marked(inner)]
        return []

    maker = EventMaker(IDENTITY)
    variants = [each for sample in samples(name) for each in marked(sample)]
    assert len(variants) > 20
    for variant in variants:
        for made in events_of(VENDORS[name], variant, maker, "p"):
            shown = str(made) if isinstance(made, RejectedRecord) else msgspec.json.encode(made).decode()
            assert MARK not in shown.lower()


def test_batches_are_objects_arrays_or_lines() -> None:
    maker = EventMaker(IDENTITY)
    record = samples("jsonl")[0]
    one = json.dumps(record).encode()
    for data, count in ((one, 1), (b"[" + one + b"," + one + b"]", 2), (one + b"\n\n" + one + b"\n", 2)):
        assert len(list(VendorBatch("jsonl", data, "p").events(maker))) == count
    made = list(VendorBatch("jsonl", one + b"\n{oops\n[7]", "p").events(maker))
    assert [each.reason for each in made if isinstance(each, RejectedRecord)] == ["not_json", "not_an_object"]
    (broken,) = VendorBatch("jsonl", b"{oops", "p").events(maker)
    assert isinstance(broken, RejectedRecord)


if __name__ == "__main__":
    for vendor in VENDORS:
        path = FOLDER / f"{vendor}.golden.json"
        path.write_text(json.dumps(told(vendor), indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {path.name}\n")
