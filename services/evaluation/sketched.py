"""Sketched blocks of a world, kept on disk: a detector that changed is judged again without sketching again.

A block's file is named by everything that could change its content: the world's options, the block, the layout of the
columns, and the source of the simulator and of the gateway's sketches. Files are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detection.columns import ATTRIBUTES, EVENT
from schemas.columns import attribute_columns, event_columns
from services.gateway.accounts import to_attributes
from services.gateway.formats import litellm
from services.gateway.identity import Identity
from services.gateway.sketching import EventMaker
from services.simulator.exchange import litellm_payload
from services.simulator.world.stream import exchanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from detection.columns import StructuredArray
    from services.simulator.world.actors import Block
    from services.simulator.world.build import World
    from services.simulator.world.harvests import Recipe

# Evaluations are reproduced to the byte, so their identifiers must not depend on a machine's own key.
IDENTITY_KEY: Final = b"the key of evaluations, no secret"
_ROOT: Final = Path(__file__).parents[2]
_SOURCES: Final = (
    "services/simulator/world",
    "services/simulator/corpus.py",
    "services/simulator/exchange.py",
    "services/simulator/library.py",
    "services/simulator/traces.py",
    "services/gateway/formats/litellm.py",
    "services/gateway/formats/messages.py",
    "services/gateway/sketching.py",
    "detection/text",
)
_CHUNK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Sketched:
    """One block, or several merged. ``harvest`` and ``events`` run over the requests in order of time.

    ``truth`` is by the product's account id (16 hex digits), with the keys of the truth file.
    """

    events: StructuredArray
    harvest: NDArray[np.bool_]
    attributes: StructuredArray
    truth: dict[str, dict[str, Any]]


def identity() -> Identity:
    """Give the identity of all evaluations."""
    return Identity(IDENTITY_KEY)


def sketch_block(
    world: World, block: Block, folder: Path | None, tell: Callable[[int], None] = lambda _: None
) -> Sketched:
    """Sketch a block, or read it where it was sketched before; ``tell`` is given the number of requests so far."""
    path = None if folder is None else folder / f"{_name(world, block)}.npz"
    if path is not None and path.is_file():
        return _read(path)
    made = _sketch(world, block, tell)
    if path is not None:
        _write(path, made)
    return made


def merge(parts: Sequence[Sketched]) -> Sketched:
    """Put blocks together in order of time; of one moment the part named first comes first."""
    times = np.concatenate([part.events["time"] for part in parts])
    order = np.argsort(times, kind="stable")
    return Sketched(
        np.concatenate([part.events for part in parts])[order],
        np.concatenate([part.harvest for part in parts])[order],
        np.concatenate([part.attributes for part in parts]),
        {account: row for part in parts for account, row in part.truth.items()},
    )


def with_campaigns(
    world: World, honest: Sketched, run: Iterable[tuple[Recipe, int]], sketch: Callable[[Block], Sketched]
) -> Sketched:
    """Put the campaigns of one run beside the honest block; ``sketch`` makes or reads a block."""
    return merge([honest, *(sketch(world.campaign(recipe, size)) for recipe, size in run)])


def _sketch(world: World, block: Block, tell: Callable[[int], None]) -> Sketched:
    who = identity()
    maker = EventMaker(who)
    parts: list[StructuredArray] = []
    harvest: list[bool] = []
    pending = []
    for exchange in exchanges([block], world.library):
        pending.append(maker.to_event(litellm.parse(litellm_payload(exchange))))
        harvest.append(exchange.harvest)
        if len(pending) >= _CHUNK:
            parts.append(event_columns(pending))
            pending.clear()
            tell(len(harvest))
    parts.append(event_columns(pending))
    attributes = attribute_columns([to_attributes(actor.attributes(), who) for actor in block.actors])
    truth = {who.account(actor.key): actor.truth() for actor in block.actors}
    return Sketched(np.concatenate(parts), np.array(harvest, np.bool_), attributes, truth)


def _read(path: Path) -> Sketched:
    with np.load(path) as found:
        truth: dict[str, dict[str, Any]] = json.loads(found["truth"].tobytes())
        return Sketched(found["events"], found["harvest"], found["attributes"], truth)


def _write(path: Path, made: Sketched) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    truth = np.frombuffer(json.dumps(made.truth).encode(), np.uint8)
    with draft.open("wb") as file:
        np.savez(file, events=made.events, harvest=made.harvest, attributes=made.attributes, truth=truth)
    draft.replace(path)


def _name(world: World, block: Block) -> str:
    digest = hashlib.blake2b(digest_size=12)
    accounts = [actor.name for actor in block.actors]
    for part in (repr(world.options), block.name, repr(accounts), repr(EVENT.descr), repr(ATTRIBUTES.descr), _code()):
        digest.update(part.encode() + b"\0")
    return f"{world.options.seed}-{block.name.replace('/', '.').replace(' ', '-')}-{digest.hexdigest()}"


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest the sources that a block's content depends on."""
    digest = hashlib.blake2b(digest_size=12)
    for source in map(_ROOT.joinpath, _SOURCES):
        for path in sorted(source.rglob("*.py")) if source.is_dir() else (source,):
            digest.update(path.read_bytes())
    return digest.hexdigest()
