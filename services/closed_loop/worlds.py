"""The crowd of an evaluation world: requests that were sketched before, and are asked again, later or not at all.

A bought account asks what the lost one had left: the same prompts and settings at the same hours, under another id,
card and household. Requests that a campaign's account makes for cover are no part of its corpus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import Flag
from detection.ids import to_hex
from services.closed_loop.crowd import Ask, Party, worth
from services.simulator.population import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import StructuredArray
    from services.closed_loop.crowd import Made
    from services.evaluation.sketched import Sketched

_IDS: Final = (1, (1 << 64) - 1)


class WorldCrowd:
    """See ``Crowd``. Turns are places in the world's events."""

    def __init__(self, world: Sketched, start_ms: int, seed: int) -> None:
        self.start_ms = start_ms
        self._events = world.events
        self._harvest = world.harvest
        self._seconds = (world.events["time"] - start_ms) / 1000.0
        self._day = (world.events["time"] - start_ms) // DAY_MS
        self._rng = np.random.default_rng([seed, 9])
        rows = {to_hex(row["account"]): row for row in world.attributes}
        ids = sorted(world.truth)
        self._attributes = [rows[account] for account in ids]
        self._sender = list(range(len(ids)))  # Whose requests a party asks: its own, or those of the one it replaced.
        self._home: dict[int, int] = {}  # Of bought accounts.
        place = {int(account, 16): index for index, account in enumerate(ids)}
        owner = np.array([place[account] for account in world.events["account"].tolist()], np.int64)
        order = np.argsort(owner, kind="stable")
        self._asked = np.split(order, np.searchsorted(owner[order], np.arange(1, len(ids))))
        self.parties = [self._party(world, account, index) for index, account in enumerate(ids)]

    def schedule(self, index: int, day: int) -> Sequence[Ask]:
        """Give what one account would ask on a day."""
        places = self._asked[self._sender[index]]
        places = places[self._day[places] == day]
        return [
            # Who asks for log probabilities gets none of them in a trimmed answer, and wanted nothing else.
            Ask(second, harvest, 0.0 if flags & Flag.LOGPROBS else worth(tokens), turn)
            for second, harvest, tokens, flags, turn in zip(
                self._seconds[places].tolist(),
                self._harvest[places].tolist(),
                self._events["output_tokens"][places].tolist(),
                self._events["flags"][places].tolist(),
                places.tolist(),
                strict=True,
            )
        ]

    def columns(self, made: Sequence[Made]) -> StructuredArray:
        """Give the requests, moved to when they were made and to who made them."""
        rows = self._events[[each.turn for each in made]].copy()
        for place, each in enumerate(made):
            rows["time"][place] = each.time_ms
            if each.party in self._home:
                rows["account"][place] = self._attributes[each.party]["account"]
                rows["network"][place] = rows["address"][place] = self._home[each.party]
        return rows

    def attributes(self, indices: Sequence[int]) -> StructuredArray:
        """Give the accounts' attributes."""
        return np.array([self._attributes[index] for index in indices], self._attributes[0].dtype)

    def buy(self, like: int, now_ms: int) -> int:
        """Add an account that asks what ``like`` had left, from a household of its own."""
        row = self._attributes[like].copy()
        row["account"], row["payment"], home = self._rng.integers(*_IDS, 3, np.uint64)
        row["signup_network"], row["created_at"] = home, now_ms
        index = len(self.parties)
        self._attributes.append(row)
        self._sender.append(self._sender[like])
        self._home[index] = int(home)
        old = self.parties[like]
        self.parties.append(
            Party(to_hex(row["account"]), old.organization, old.campaign, old.recipe, licensed=old.licensed)
        )
        return index

    def _party(self, world: Sketched, account: str, index: int) -> Party:
        truth = world.truth[account]
        named = int(self._attributes[index]["organization"])
        asked = self._asked[index]
        named = named or (int(self._events["organization"][asked].max()) if len(asked) else 0)
        return Party(
            account=account,
            organization=to_hex(named) if named else "",
            campaign=truth["campaign"],
            recipe=str(truth["recipe"]),
            licensed=bool(truth["licensed"]),
        )
