"""The exported JSON Schemas: up to date, closed, and of one mind with the readers."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import export
from schemas.asyncapi import asyncapi_yaml
from schemas.records import RECORDS, RecordKind
from schemas.request_event import RequestEvent, Sketch

SCHEMAS = Path(export.__file__).parent
KINDS = [pytest.param(kind, id=kind.type) for kind in RECORDS]


@cache
def validator(name: str) -> Draft202012Validator:
    kind = next(kind for kind in RECORDS if kind.type == name)
    return Draft202012Validator(export.json_schema(kind))


def test_the_committed_files_are_what_the_types_say() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in (SCHEMAS / "json").glob("*.json")}
    assert committed == export.schema_files(), "run `make contracts` and commit the difference"
    assert (SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8") == asyncapi_yaml(), "run `make contracts`"


@pytest.mark.parametrize("kind", KINDS)
def test_every_schema_is_valid_and_closed_at_every_depth(kind: RecordKind) -> None:
    schema = export.json_schema(kind)
    Draft202012Validator.check_schema(schema)
    pending: list[Any] = [schema]
    objects = 0
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        if isinstance(node, dict):
            if "properties" in node:
                objects += 1
                assert node["additionalProperties"] is False, node.get("title")
            elif node.get("type") == "object":
                assert isinstance(node["additionalProperties"], dict), "a map says what its values are"
            pending.extend(node.values())
    assert objects
    assert schema["properties"]["type"] == {"enum": [kind.type]}


def test_the_table_of_records_names_each_type_once() -> None:
    assert len({kind.type for kind in RECORDS}) == len(RECORDS)
    assert all(re.fullmatch(r"[a-z_]+\.v\d+", kind.type) for kind in RECORDS)


identifiers = st.one_of(st.just(""), st.integers(0, 2**64 - 1).map(lambda value: f"{value:016x}"))
accounts = st.integers(0, 2**64 - 1).map(lambda value: f"{value:016x}")
counts = st.integers(0, 2**31 - 1)
names = st.text(max_size=128)
finite = st.floats(allow_nan=False, allow_infinity=False)

sketches = st.builds(
    Sketch,
    ladder=st.binary(min_size=72, max_size=72),
    projection=st.binary(min_size=32, max_size=32),
    segments=st.binary(max_size=128),
    boundaries=st.binary(max_size=32),
    last_turn=identifiers,
    response=identifiers,
    flags=st.integers(0, 255),
)
events = st.builds(
    RequestEvent,
    event_id=st.text(min_size=1, max_size=64),
    time_unix_ms=st.integers(0, 2**53 - 1),
    account=accounts,
    key_version=st.integers(0, 65535),
    organization=identifiers,
    end_user=identifiers,
    gen_ai_request_model=names,
    gen_ai_provider_name=names,
    gen_ai_usage_input_tokens=counts,
    gen_ai_usage_output_tokens=counts,
    gen_ai_request_max_tokens=st.none() | counts,
    gen_ai_request_temperature=st.none() | finite,
    gen_ai_request_top_p=st.none() | finite,
    gen_ai_response_finish_reasons=st.lists(names, max_size=16),
    time_to_first_chunk_ms=st.none() | counts,
    client_address=identifiers,
    logprobs=st.booleans(),
    logit_bias=identifiers,
    sketch=st.none() | sketches,
)


@given(events)
def test_what_the_encoder_writes_the_schema_accepts(event: RequestEvent) -> None:
    document = json.loads(msgspec.json.encode(event))
    validator("request.v1").validate(document)


def documents(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw documents from a schema of ours; knows the keywords that the exports use."""
    if "$ref" in schema:
        return documents(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return st.one_of([documents(one, root) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "object":
        return objects(schema, root)
    if schema["type"] == "array":
        return st.lists(documents(schema["items"], root), max_size=min(schema.get("maxItems", 4), 4))
    return scalars(schema)


def objects(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        return st.dictionaries(st.text(), documents(schema["additionalProperties"], root), max_size=4)
    drawn = {name: documents(part, root) for name, part in schema["properties"].items()}
    required = {name: drawn.pop(name) for name in schema["required"]}
    return st.fixed_dictionaries(required, optional=drawn)


def scalars(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"]).filter(lambda text: Draft202012Validator(schema).is_valid(text))
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength")),
        "integer": st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)),
        "number": finite | st.integers(-(2**53), 2**53),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return by_type[schema["type"]]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_the_schema_accepts_the_reader_reads(kind: RecordKind, data: st.DataObject) -> None:
    schema = export.json_schema(kind)
    document = data.draw(documents(schema, schema))
    validator(kind.type).validate(document)
    read = msgspec.json.decode(json.dumps(document).encode(), type=kind.struct)
    validator(kind.type).validate(json.loads(msgspec.json.encode(read)))


GOOD = {
    "type": "request.v1",
    "event_id": "e1",
    "time_unix_ms": 1,
    "account": "00000000000000aa",
    "gen_ai_request_model": "m",
}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "text has no place on the wire"},
        {"account": "00000000000000AA"},
        {"account": "00000000000000aa\n"},
        {"organization": "\n"},
        {"account": ""},
        {"event_id": ""},
        {"time_unix_ms": -1},
        {"time_unix_ms": 2**53},
        {"time_unix_ms": None},
        {"gen_ai_usage_input_tokens": 2**31},
        {"gen_ai_request_model": "m" * 129},
        {"gen_ai_request_temperature": "hot"},
        {"gen_ai_response_finish_reasons": ["stop"] * 17},
        {"type": "request.v2"},
        {"sketch": {}},
        {
            "sketch": {
                "ladder": base64.b64encode(bytes(71)).decode(),
                "projection": base64.b64encode(bytes(32)).decode(),
            }
        },
        {
            "sketch": {
                "ladder": base64.b64encode(bytes(72)).decode(),
                "projection": base64.b64encode(bytes(31)).decode(),
            }
        },
        {"sketch": {"ladder": base64.b64encode(bytes(72)).decode(), "projection": "*" * 44}},
    ],
)
def test_schema_and_reader_reject_the_same(change: dict[str, Any]) -> None:
    document = GOOD | change
    assert not validator("request.v1").is_valid(document)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(document).encode(), type=RequestEvent)
    validator("request.v1").validate(GOOD)


@given(st.binary(max_size=12), st.integers(0, 9))
def test_the_pattern_of_base64_accepts_just_its_lengths(value: bytes, bound: int) -> None:
    text = base64.b64encode(value).decode()
    assert bool(re.search(export.base64_pattern(0, bound), text)) == (len(value) <= bound)
    assert bool(re.search(export.base64_pattern(bound, bound), text)) == (len(value) == bound)
    assert re.search(export.base64_pattern(0, None), text)
    assert not re.search(export.base64_pattern(0, None), text + "\n")


def test_a_lower_bound_of_bytes_is_refused_until_a_record_needs_it() -> None:
    with pytest.raises(ValueError, match="exact length"):
        export.base64_pattern(1, 2)


def test_writing_removes_schemas_of_records_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "gone.v1.json").write_text("{}", encoding="utf-8")
    export.write(tmp_path)
    assert {path.name for path in (tmp_path / "json").iterdir()} == set(export.schema_files())


def test_a_release_is_never_rewritten(tmp_path: Path) -> None:
    folder = export.release(7, tmp_path)
    assert {path.name for path in folder.iterdir()} == set(export.schema_files())
    with pytest.raises(FileExistsError):
        export.release(7, tmp_path)
