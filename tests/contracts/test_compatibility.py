"""No schema breaks a promise to a released one, and the comparison is seen to catch breaks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import export
from schemas.compatibility import UnknownKeywordError, breaks, broken_promises
from schemas.records import RECORDS, RecordKind

RELEASED = sorted((Path(export.__file__).parent / "released").iterdir(), key=lambda folder: int(folder.name))
Schema = dict[str, Any]


def released(folder: Path, kind: RecordKind) -> Schema:
    schema: Schema = json.loads((folder / kind.file_name).read_text(encoding="utf-8"))
    return schema


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: f"release {folder.name}")
@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.type)
def test_every_release_is_still_read(folder: Path, kind: RecordKind) -> None:
    if not (folder / kind.file_name).exists():
        pytest.skip(f"release {folder.name} had no {kind.type}")
    assert broken_promises(kind.promise, export.json_schema(kind), released(folder, kind)) == []


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: f"release {folder.name}")
def test_no_released_record_is_gone(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} <= {kind.file_name for kind in RECORDS}


BASE: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["thing.v1"]},
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "id": {"type": "string", "pattern": "^[0-9a-f]$"},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "parts": {"type": "array", "maxItems": 4, "items": {"$ref": "#/$defs/Part"}},
        "weights": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["type", "name", "count"],
    "additionalProperties": False,
    "$defs": {
        "Part": {
            "type": "object",
            "properties": {"kind": {"enum": ["a", "b"]}},
            "required": ["kind"],
            "additionalProperties": False,
        }
    },
}
Change = Callable[[Schema], object]


def changed(change: Change) -> Schema:
    schema = copy.deepcopy(BASE)
    change(schema)
    return schema


BREAKS_OLD_RECORDS: dict[str, Change] = {
    "a field is removed": lambda s: s["properties"].pop("share"),
    "a field becomes required": lambda s: s["required"].append("share"),
    "a new field is required": lambda s: (
        s["properties"].update(more={"type": "string"}),
        s["required"].append("more"),
    ),
    "a type changes": lambda s: s["properties"].update(count={"type": "string"}),
    "a number becomes an integer": lambda s: s["properties"].update(weights={"type": "integer"}),
    "null is no longer read": lambda s: s["properties"].update(share={"type": "number"}),
    "a length narrows": lambda s: s["properties"]["name"].update(maxLength=7),
    "a length gains a lower bound": lambda s: s["properties"]["name"].update(minLength=2),
    "a range narrows": lambda s: s["properties"]["count"].update(maximum=8),
    "a lower bound rises": lambda s: s["properties"]["count"].update(minimum=1),
    "a list shortens": lambda s: s["properties"]["parts"].update(maxItems=3),
    "a pattern changes": lambda s: s["properties"]["id"].update(pattern="^[0-9]$"),
    "a value leaves an enumeration": lambda s: s["$defs"]["Part"]["properties"]["kind"]["enum"].remove("b"),
    "free text becomes an enumeration": lambda s: s["properties"].update(name={"enum": ["x"]}),
    "a nested field becomes required": lambda s: (
        s["$defs"]["Part"]["properties"].update(size={"type": "integer"}),
        s["$defs"]["Part"]["required"].append("size"),
    ),
    "a map's values change": lambda s: s["properties"]["weights"].update(additionalProperties={"type": "string"}),
    "the version changes": lambda s: s["properties"].update(type={"const": "thing.v2"}),
}
BREAKS_OLD_READERS: dict[str, Change] = {
    "an optional field is added": lambda s: s["properties"].update(more={"type": "string"}),
    "a required field becomes optional": lambda s: s["required"].remove("name"),
    "a length widens": lambda s: s["properties"]["name"].update(maxLength=9),
    "a bound goes": lambda s: s["properties"]["count"].pop("maximum"),
    "a value joins an enumeration": lambda s: s["$defs"]["Part"]["properties"]["kind"]["enum"].append("c"),
    "null may be sent": lambda s: s["properties"].update(
        count={"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]}
    ),
    "an integer becomes a number": lambda s: s["properties"].update(
        count={"type": "number", "minimum": 0, "maximum": 9}
    ),
    "the record is opened": lambda s: s.update(additionalProperties=True),
}
HARMLESS: dict[str, Change] = {
    "nothing changes": lambda _: None,
    "words change": lambda s: s.update(title="Thing", description="More words."),
    "a definition is renamed": lambda s: (
        s["$defs"].update(Piece=s["$defs"].pop("Part")),
        s["properties"]["parts"].update(items={"$ref": "#/$defs/Piece"}),
    ),
    "a constant is written as an enumeration of one": lambda s: s["properties"].update(type={"const": "thing.v1"}),
}


@pytest.mark.parametrize("name", BREAKS_OLD_RECORDS)
def test_both_promises_catch_what_rejects_old_records(name: str) -> None:
    new = changed(BREAKS_OLD_RECORDS[name])
    assert broken_promises("backward", new, BASE)
    assert broken_promises("full", new, BASE)


@pytest.mark.parametrize("name", BREAKS_OLD_READERS)
def test_only_the_full_promise_catches_what_old_readers_reject(name: str) -> None:
    new = changed(BREAKS_OLD_READERS[name])
    assert broken_promises("backward", new, BASE) == []
    assert broken_promises("full", new, BASE)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_changes_pass_both(name: str) -> None:
    assert broken_promises("full", changed(HARMLESS[name]), BASE) == []


def test_a_break_is_named_by_its_path() -> None:
    narrowed = changed(lambda s: s["$defs"]["Part"]["properties"]["kind"]["enum"].remove("b"))
    assert breaks(reader=narrowed, writer=BASE) == ["$.parts[].kind: ['b'] are not read"]


@pytest.mark.parametrize("keyword", [{"oneOf": []}, {"not": {}}, {"patternProperties": {}}, {"$ref": "other.json"}])
def test_what_it_does_not_understand_it_refuses(keyword: Schema) -> None:
    with pytest.raises(UnknownKeywordError):
        breaks(reader=BASE | {"properties": {"name": keyword}}, writer=BASE)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.type)
def test_it_catches_every_single_removal_from_our_own_schemas(kind: RecordKind) -> None:
    schema = export.json_schema(kind)
    for name in schema["properties"]:
        new = copy.deepcopy(schema)
        del new["properties"][name]
        new["required"] = [other for other in new["required"] if other != name]
        assert f"$.{name}: sent, and not known" in breaks(reader=new, writer=schema)
