"""A block's exchanges in order of time. Each account draws its day and its words from sources of its own."""

from __future__ import annotations

import heapq
import zlib
from typing import TYPE_CHECKING

import numpy as np

from services.simulator.exchange import Exchange
from services.simulator.world.actors import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.simulator.behaviour import Turn
    from services.simulator.library import Library
    from services.simulator.world.actors import Activity, Actor, Block

_DAY_S = 86_400.0
_KEPT = 40  # Messages that a client sends along at most: the oldest go first, the system message stays.


def exchanges(blocks: Sequence[Block], library: Library) -> Iterator[Exchange]:
    """Give all exchanges of these blocks, sorted by time; of one moment the block named first comes first."""
    days = max(block.days for block in blocks)
    for day in range(days):
        streams = [_day(block, place, library, day) for place, block in enumerate(blocks)]
        for _, _, _, exchange in heapq.merge(*streams, key=lambda item: item[:3]):
            yield exchange


def _day(block: Block, place: int, library: Library, day: int) -> Iterator[tuple[int, int, int, Exchange]]:
    turns: list[tuple[float, int, int, Turn]] = []
    for number, actor in enumerate(block.actors):
        for activity_number, activity in enumerate(actor.activities):
            if not activity.begins - 1 < day < activity.ends:
                continue
            rng = np.random.default_rng([block.seed, zlib.crc32(actor.name.encode()), activity_number, day])
            turns += [
                (turn.second, number, activity_number, turn)
                for turn in activity.plan.day(rng, day)
                if activity.begins <= day + turn.second / _DAY_S < activity.ends
            ]
    turns.sort(key=lambda item: item[:3])
    speakers: dict[tuple[int, int], _Speaker] = {}
    for order, (second, number, activity_number, turn) in enumerate(turns):
        speaker = speakers.get((number, activity_number))
        if speaker is None:
            actor = block.actors[number]
            speaker = speakers[number, activity_number] = _Speaker(block, actor, activity_number, day)
        time_ms = block.start_ms + day * DAY_MS + round(second * 1000)
        yield time_ms, place, order, speaker.say(library, turn, time_ms)


class _Speaker:
    """One account's activity on one day: its source of words, and its conversations so far."""

    def __init__(self, block: Block, actor: Actor, number: int, day: int) -> None:
        self._actor = actor
        self._activity: Activity = actor.activities[number]
        self._rng = np.random.default_rng([block.seed, zlib.crc32(actor.name.encode()), number, day, 1])
        self._histories: dict[int, list[dict[str, str]]] = {}
        self._rejected_ms = block.start_ms + self._activity.rejected_from * DAY_MS
        self._serial = f"{zlib.crc32(actor.name.encode()):08x}-{number}-{day}"
        self._said = 0

    def say(self, library: Library, turn: Turn, time_ms: int) -> Exchange:
        activity, rng = self._activity, self._rng
        said = activity.write(library, rng, turn, self._actor.topic)
        history = self._histories.setdefault(turn.conversation, []) if activity.plan.converses else []
        system = activity.system if said.system is None else said.system
        if not history and system:
            history.append({"role": "system", "content": system})
        history.append({"role": "user", "content": said.prompt})
        settings = {**activity.client.settings, **activity.settings, **(said.settings or {})}
        output = min(turn.output_tokens, int(settings.get("max_tokens", 32_000)))
        self._said += 1
        exchange = Exchange(
            key=self._actor.key,
            time_ms=time_ms,
            natural_id=f"{self._serial}-{self._said}",
            model=activity.client.model,
            agent=activity.client.agent,
            address=activity.addresses[turn.conversation % len(activity.addresses)],
            messages=list(history),
            answer=said.answer,
            settings=settings,
            organization=self._actor.organization,
            end_user=f"user-{turn.conversation % activity.end_users}" if activity.end_users else "",
            input_tokens=turn.input_tokens,
            output_tokens=output,
            reasoning_tokens=round(output * activity.reasoning * float(rng.uniform(0.6, 1.1))),
            tools=activity.tools,
            refused=said.refused,
            rejected=time_ms >= self._rejected_ms,
            harvest=activity.harvest,
        )
        history.append({"role": "assistant", "content": said.answer})
        if len(history) > _KEPT:
            del history[1:3]
        return exchange
