"""Words that must stay at the gateway, and where to look for them: topics, tables, files, outputs."""

from __future__ import annotations

import base64
import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from services.adapters.embedded import state
from tests.acceptance.topics import read_topic, topic_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.acceptance.product import Product

CANARIES = {
    "prompt": "zebrafish prompt of the acceptance run",
    "system": "walrus system instruction of the acceptance run",
    "response": "pelican answer of the acceptance run",
    "tool": "ocelot_tool_of_the_acceptance_run",
    "key": "sk-acceptance-quokka-0123456789abcdef",
    "email": "okapi.person@acceptance.example",
    "user": "lemur-end-user-of-acceptance",
    "organization": "Tapir Acceptance Organization",
    "address": "203.0.113.77",
    "agent": "axolotl-agent-of-acceptance/9.9",
    "payment": "card-of-acceptance-4111111111111111",
    "request": "puffin-request-id-of-acceptance",
}
# Shorter words occur by chance within a hundred megabytes of base64; they count where they stand alone.
LEAST_LETTERS = 12


def crafted(now: float) -> Iterator[str]:
    """Give lines of the `openai` format: 50 good pairs full of canaries, then one of each reject with one inside."""
    for number in range(50):
        yield json.dumps(_pair(now - 100 + number, number))
    good = _pair(now, 50)
    yield json.dumps({**good, "request": CANARIES["prompt"]})
    yield json.dumps({**good, "api_key": None})
    yield json.dumps({**good, "started_at": CANARIES["email"]})
    yield json.dumps([CANARIES["prompt"]])
    yield f"{{ {CANARIES['prompt']}"


def _pair(started_at: float, number: int) -> dict[str, Any]:
    call = {"id": "call-1", "type": "function", "function": {"name": CANARIES["tool"], "arguments": "{}"}}
    return {
        "id": f"{CANARIES['request']}-{number}",
        "api_key": CANARIES["key"],
        "user": CANARIES["user"],
        "organization": CANARIES["organization"],
        "client_address": CANARIES["address"],
        "user_agent": CANARIES["agent"],
        "started_at": started_at,
        "status": 200 if number % 5 else 500,
        "error": CANARIES["response"],
        "request": {
            "model": "gpt-4o-mini",
            "user": CANARIES["email"],
            "messages": [
                {"role": "system", "content": CANARIES["system"]},
                {"role": "user", "content": f"{CANARIES['prompt']}, number {number}, step by step. " * 20},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ],
        },
        "response": {"choices": [{"finish_reason": "stop", "message": {"content": CANARIES["response"] * 10}}]},
    }


def recorded(path: Path) -> set[str]:
    """Give what the recorded payloads of LiteLLM say of people: keys, users, e-mails, texts, request ids."""
    found: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        told = record["metadata"]
        found |= {told.get(f"user_api_key_{name}") for name in ("hash", "user_id", "user_email", "end_user_id")}
        found |= {record["id"], record["litellm_call_id"], record["end_user"], record["error_str"]}
        found |= {message["content"] for message in record["messages"]}
        response = record["response"] if isinstance(record["response"], dict) else {}
        found |= {choice["message"]["content"] for choice in response.get("choices", [])}
    return {word for word in found if word}


class Words:
    """Searches for words as they are, in any case, in hexadecimal and in base64; short ones where they stand alone."""

    def __init__(self, words: Iterable[str]) -> None:
        self._anywhere: set[bytes] = set()
        self._alone: dict[bytes, re.Pattern[bytes]] = {}
        for word in words:
            raw = word.encode()
            if len(raw) < LEAST_LETTERS:
                self._alone[raw] = re.compile(rb"(?<![0-9A-Za-z+/])" + re.escape(raw) + rb"(?![0-9A-Za-z+/])")
                continue
            forms = {raw, raw.hex().encode()} | {_inner_base64(raw, shift) for shift in range(3)}
            self._anywhere |= {form.lower() for form in forms}

    def find(self, data: bytes) -> list[bytes]:
        """Give the words that occur."""
        low = data.lower()
        found = [form for form in self._anywhere if form in low]
        return found + [raw for raw, pattern in self._alone.items() if raw in data and pattern.search(data)]


def _inner_base64(raw: bytes, shift: int) -> bytes:
    """Encode as it stands behind `shift` other bytes, without the digits that depend on its neighbours."""
    whole = base64.b64encode(bytes(shift) + raw + bytes(-(shift + len(raw)) % 3))
    return whole[-(-shift * 8 // 6) : len(whole) - 4]


def look_everywhere(product: Product) -> Iterator[tuple[str, bytes]]:
    """Give everything that the product wrote, in large pieces, each with its place."""
    for topic in topic_names(product.kafka):
        # Also what was aborted: it stays in the log.
        messages = read_topic(product.kafka, topic, "read_uncommitted")
        while part := list(islice(messages, 10_000)):
            pieces = [message.key() or b"" for message in part] + [message.value() or b"" for message in part]
            pieces += [repr(message.headers() or []).encode() for message in part]
            yield f"topic {topic}", b"\0".join(pieces)
    yield from _tables(product)
    for path in sorted(product.base_dir.rglob("*")):
        if path.is_file() and not path.is_relative_to(product.base_dir / "kafka"):
            yield f"file {path.relative_to(product.base_dir)}", path.read_bytes()
    yield "output of `up`", product.told.read_bytes()
    for text in product.written:
        yield "output of a command", text.encode()


def _tables(product: Product) -> Iterator[tuple[str, bytes]]:
    url = state.running_database_url(product.base_dir).replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, name in names:
            # Binary: bytes as they are, and not as hexadecimal.
            copy = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(schema, name))
            with connection.cursor().copy(copy) as rows:
                yield f"table {name}", b"".join(bytes(row) for row in rows)
