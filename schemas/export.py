"""JSON Schemas (2020-12) and the AsyncAPI document, made from the record types. Run by ``make contracts``.

``python -m schemas.export`` rewrites ``schemas/json/``, ``schemas/asyncapi.yaml`` and the Helm chart's
``files/kafka.yaml``. With ``--release N`` it also puts a copy of the schemas into ``schemas/released/N/``, which later
versions are held to; a release is never rewritten.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.access import chart_yaml
from schemas.asyncapi import asyncapi_yaml
from schemas.records import RECORDS, RecordKind

ROOT: Final = Path(__file__).parent
CHART: Final = ROOT.parent / "deploy" / "helm" / "stillwatch" / "files" / "kafka.yaml"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def json_schema(kind: RecordKind) -> Schema:
    """Give the closed JSON Schema of one record: it accepts exactly the documents that its reader accepts.

    Two readings differ on purpose: the reader also takes a record without its ``type``, and JSON Schema cannot bound a
    number to what a double holds.
    """
    (reference,), components = msgspec.json.schema_components([kind.struct])
    root = str(reference["$ref"]).rpartition("/")[2]
    for name, definition in components.items():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
        _close_base64(_struct_named(kind.struct, name), definition)
    schema: Schema = {"$schema": DIALECT, "$id": f"urn:stillwatch:schema:{kind.type}"} | components.pop(root)
    if components:
        schema["$defs"] = dict(sorted(components.items()))
    return schema


def _struct_named(root: type[msgspec.Struct], name: str) -> msgspec.inspect.StructType:
    """Find a struct by its name among those that ``root`` reaches."""
    pending: list[Any] = [msgspec.inspect.type_info(root)]
    while pending:
        info = pending.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__name__ == name:
                return info
            pending.extend(field.type for field in info.fields)
        elif isinstance(info, msgspec.inspect.UnionType):
            pending.extend(info.types)
        elif isinstance(info, msgspec.inspect.ListType):
            pending.append(info.item_type)
    raise LookupError(f"{root.__name__} reaches no struct named {name}")


def _close_base64(struct: msgspec.inspect.StructType, definition: Schema) -> None:
    """Say what base64 is as a pattern: ``contentEncoding`` is a note that validators do not check."""
    for field in struct.fields:
        if isinstance(field.type, msgspec.inspect.BytesType):
            definition["properties"][field.encode_name]["pattern"] = base64_pattern(
                field.type.min_length or 0, field.type.max_length
            )


def base64_pattern(minimum: int, maximum: int | None) -> str:
    """Write a pattern of padded base64 that decodes to between ``minimum`` and ``maximum`` bytes.

    Supported are an exact length, and any length from 0 up; ValueError for other bounds, until a record needs them.
    """
    digit = "[A-Za-z0-9+/]"
    one, two = f"{digit}{{2}}==", f"{digit}{{3}}="
    if maximum is not None and minimum == maximum:
        quads, rest = divmod(maximum, 3)
        return f"^({digit}{{4}}){{{quads}}}{('', one, two)[rest]}(?!\\n)$"
    if minimum:
        raise ValueError("bytes of a record have an exact length or none but the largest")
    if maximum is None:
        return f"^({digit}{{4}})*({one}|{two})?(?!\\n)$"
    quads, rest = divmod(maximum, 3)
    full = f"({digit}{{4}}){{0,{quads}}}({('', f'({one})?', f'({one}|{two})?')[rest]})"
    shorter = f"|({digit}{{4}}){{0,{quads - 1}}}({one}|{two})" if quads else ""
    return f"^({full}{shorter})(?!\\n)$"


def schema_files() -> dict[str, str]:
    """Give every schema's file name and text."""
    return {kind.file_name: json.dumps(json_schema(kind), indent=2) + "\n" for kind in RECORDS}


def write(root: Path = ROOT) -> None:
    """Write the schemas and the AsyncAPI document under ``root``, and remove schemas of records that are no more."""
    files = schema_files()
    folder = root / "json"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (root / "asyncapi.yaml").write_text(asyncapi_yaml(), encoding="utf-8")


def write_chart(path: Path = CHART) -> None:
    """Write what the Helm chart makes topics and users from."""
    path.write_text(chart_yaml(), encoding="utf-8")


def release(number: int, root: Path = ROOT) -> Path:
    """Keep the schemas as release ``number``; raises FileExistsError where that release exists."""
    folder = root / "released" / str(number)
    folder.mkdir(parents=True)
    for name, text in schema_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Write everything; 0, or 1 where the release exists already."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description="Write the contracts.")
    parser.add_argument("--release", type=int, metavar="N", help="also keep the schemas as release N")
    number = parser.parse_args(arguments).release
    write()
    write_chart()
    if number is not None:
        try:
            release(number)
        except FileExistsError:
            sys.stderr.write(f"Release {number} exists; a release is never rewritten. Take the next number.\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
