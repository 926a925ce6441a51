"""Compatibility of JSON Schemas by structure: whether a reader accepts every document that a writer may send.

It answers for the keywords that our exports use and refuses others, so that it cannot pass what it does not
understand. It is strict: where it cannot prove that a change is harmless (another pattern, say), it reports it.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_NOTES: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "format", "contentEncoding"})
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_KNOWN: Final = _NOTES | frozenset(_LOWER + _UPPER) | {
    "$ref", "anyOf", "type", "enum", "const", "pattern", "properties", "required", "additionalProperties", "items",
}  # fmt: skip


class UnknownKeywordError(ValueError):
    """A schema uses a keyword that the comparison does not understand; teach it before using the keyword."""


def breaks(reader: Schema, writer: Schema) -> list[str]:
    """Name every way in which ``writer`` may send what ``reader`` rejects; empty where it never can."""
    return _compare(reader, writer, reader, writer, "$")


def broken_promises(promise: str, new: Schema, released: Schema) -> list[str]:
    """Name what a new schema breaks for a released one, under ``backward`` or ``full`` (see ``schemas.records``)."""
    found = [f"a new reader rejects old records: {text}" for text in breaks(reader=new, writer=released)]
    if promise == "full":
        found += [f"an old reader rejects new records: {text}" for text in breaks(reader=released, writer=new)]
    return found


def _compare(reader: Schema, writer: Schema, reader_root: Schema, writer_root: Schema, path: str) -> list[str]:
    reader, writer = _resolve(reader, reader_root), _resolve(writer, writer_root)
    for schema in (reader, writer):
        if unknown := schema.keys() - _KNOWN:
            raise UnknownKeywordError(f"{path}: {', '.join(sorted(unknown))}")
    if "anyOf" in writer:
        return [text for one in writer["anyOf"] for text in _compare(reader, one, reader_root, writer_root, path)]
    if "anyOf" in reader:
        attempts = [_compare(one, writer, reader_root, writer_root, path) for one in reader["anyOf"]]
        # The closest alternative tells most about what is wrong.
        return [] if not all(attempts) else min(attempts, key=len)
    return _types(reader, writer, path) or _values(reader, writer, path) + _bounds(reader, writer, path) + _objects(
        reader, writer, reader_root, writer_root, path
    ) + _arrays(reader, writer, reader_root, writer_root, path)


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        prefix, _, name = str(schema["$ref"]).rpartition("/")
        if prefix != "#/$defs":
            raise UnknownKeywordError(f"a reference to {schema['$ref']}")
        schema = root["$defs"][name]
    return schema


def _types(reader: Schema, writer: Schema, path: str) -> list[str]:
    if "type" not in reader or reader["type"] == writer.get("type"):
        return []
    if reader["type"] == "number" and writer.get("type") == "integer":
        return []
    if "type" not in writer and "enum" in writer and reader["type"] == "string":
        odd = [value for value in writer["enum"] if not isinstance(value, str)]
        return [f"{path}: {odd} are not strings"] if odd else []
    return [f"{path}: {writer.get('type', 'any type')} is not {reader['type']}"]


def _values(reader: Schema, writer: Schema, path: str) -> list[str]:
    allowed, sent = _enumeration(reader), _enumeration(writer)
    if allowed is not None:
        if sent is None:
            return [f"{path}: any value is sent, only {allowed} are read"]
        extra = [value for value in sent if value not in allowed]
        return [f"{path}: {extra} are not read"] if extra else []
    if "pattern" in reader and reader["pattern"] != writer.get("pattern"):
        return [f"{path}: the pattern differs"]
    return []


def _enumeration(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _bounds(reader: Schema, writer: Schema, path: str) -> list[str]:
    if _enumeration(writer) is not None:
        return []
    found = [
        f"{path}: {name} is {reader[name]}, sent from {writer.get(name, 'any')}"
        for name in _LOWER
        if name in reader and writer.get(name, float("-inf")) < reader[name]
    ]
    found += [
        f"{path}: {name} is {reader[name]}, sent up to {writer.get(name, 'any')}"
        for name in _UPPER
        if name in reader and writer.get(name, float("inf")) > reader[name]
    ]
    return found


def _objects(reader: Schema, writer: Schema, reader_root: Schema, writer_root: Schema, path: str) -> list[str]:
    if reader.get("type") != "object":
        return []
    found = [
        f"{path}.{name}: required, and not always sent"
        for name in reader.get("required", [])
        if name not in writer.get("required", [])
    ]
    known = reader.get("properties", {})
    rest_read, rest_sent = reader.get("additionalProperties", True), writer.get("additionalProperties", True)
    for name, schema in writer.get("properties", {}).items():
        target = known.get(name, rest_read)
        if target is False:
            found.append(f"{path}.{name}: sent, and not known")
        elif isinstance(target, dict):
            found += _compare(target, schema, reader_root, writer_root, f"{path}.{name}")
    if rest_sent is not False and rest_read is not True:
        if isinstance(rest_read, dict) and isinstance(rest_sent, dict):
            found += _compare(rest_read, rest_sent, reader_root, writer_root, f"{path}.*")
        else:
            found.append(f"{path}: open, and read as closed")
    return found


def _arrays(reader: Schema, writer: Schema, reader_root: Schema, writer_root: Schema, path: str) -> list[str]:
    if reader.get("type") != "array" or "items" not in reader:
        return []
    return _compare(reader["items"], writer.get("items", {}), reader_root, writer_root, f"{path}[]")
