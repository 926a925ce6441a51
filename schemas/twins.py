"""Twins of RequestEvent and its sketch whose identifiers are checked as columns: a pattern costs 0.3 us a field.

``schemas.columns`` checks all identifiers of a chunk at once, and reads the chunk again by the strict types where
anything is wrong. So a twin never decides: what it takes and the columns take, the strict type takes too.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, cast, get_type_hints

import msgspec

from schemas.request_event import RequestEvent, Sketch

_Optional: TypeAlias = Annotated[str, msgspec.Meta(max_length=16)]
_Required: TypeAlias = Annotated[str, msgspec.Meta(min_length=16, max_length=16)]

EVENT_IDENTIFIERS: Final = (
    "account",
    "organization",
    "client_network",
    "client_address",
    "logit_bias",
    "end_user",
)
SKETCH_IDENTIFIERS: Final = ("last_turn", "response")


def _twin(strict: type[msgspec.Struct], **types: Any) -> Any:
    """Make a struct with the same fields and rules, except for the types given."""
    hints = get_type_hints(strict, include_extras=True) | types
    fields: list[Any] = []
    for field in msgspec.structs.fields(strict):
        if field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, hints[field.name], msgspec.field(default_factory=field.default_factory)))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((field.name, hints[field.name], field.default))
        else:
            fields.append((field.name, hints[field.name]))
    rules = strict.__struct_config__
    return msgspec.defstruct(
        f"{strict.__name__}Twin",
        fields,
        kw_only=True,
        gc=False,
        forbid_unknown_fields=rules.forbid_unknown_fields,
        tag_field=rules.tag_field,
        tag=rules.tag,
    )


def event_decoder() -> msgspec.json.Decoder[RequestEvent]:
    """Make a decoder of records that look like RequestEvent v1, their identifiers strings of the right length."""
    sketch = _twin(Sketch, **dict.fromkeys(SKETCH_IDENTIFIERS, _Optional))
    identifiers = dict.fromkeys(EVENT_IDENTIFIERS, _Optional) | {"account": _Required}
    event = _twin(RequestEvent, **identifiers, sketch=sketch | None)
    # By attribute names it is one; nothing asks for its class.
    return cast("msgspec.json.Decoder[RequestEvent]", msgspec.json.Decoder(event))
