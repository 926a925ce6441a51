"""From a population to records in order of time: the request and response pairs that a gateway sees."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.simulator.population import DAY_MS
from services.simulator.prompts import write_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.simulator.behaviour import Turn
    from services.simulator.corpus import Corpus
    from services.simulator.population import Population, SimulatedAccount


@dataclass
class Traffic:
    """Endless traffic of a population from ``population.start_ms`` on; the same seed gives the same records."""

    population: Population
    corpus: Corpus
    seed: int
    _histories: dict[tuple[int, int], list[dict[str, str]]] = field(default_factory=dict, repr=False)

    def days(self, count: int | None = None) -> Iterator[dict[str, Any]]:
        """Give records of ``count`` days (None: for ever), sorted by time."""
        day = 0
        while count is None or day < count:
            self._histories.clear()
            yield from self._day(day)
            day += 1

    def _day(self, day: int) -> Iterator[dict[str, Any]]:
        streams = [self._schedule(index, day) for index in range(len(self.population.accounts))]
        rng = np.random.default_rng([self.seed, 2, day])
        start = self.population.start_ms + day * DAY_MS
        for second, index, turn in heapq.merge(*streams):
            yield self._record(self.population.accounts[index], index, turn, start + round(second * 1000), rng)

    def _schedule(self, index: int, day: int) -> list[tuple[float, int, Turn]]:
        rng = np.random.default_rng([self.seed, 1, index, day])
        turns = self.population.accounts[index].behaviour.day(rng, day)
        return sorted((turn.second, index, turn) for turn in turns)

    def _record(
        self, account: SimulatedAccount, index: int, turn: Turn, time_ms: int, rng: np.random.Generator
    ) -> dict[str, Any]:
        history = self._histories.setdefault((index, turn.conversation), [])
        if not history and account.system:
            history.append({"role": "system", "content": account.system})
        place = turn.conversation if account.recipe == "benchmark" else turn.place
        prompt = write_prompt(account.recipe, self.corpus, rng, place, index)
        history.append({"role": "user", "content": prompt})
        answer = self.corpus.answer(rng, 1 + turn.output_tokens // 200 % 4)
        settings = {**account.client.settings, **account.settings}
        cut = settings.get("max_tokens", 32_000)
        output_tokens = min(turn.output_tokens, cut)
        duration_ms = 200 + output_tokens * 12
        request: dict[str, Any] = {"model": account.client.model, "messages": list(history), **settings}
        if account.tools:
            request["tools"] = [{"type": "function", "function": {"name": "shell", "parameters": {"type": "object"}}}]
        history.append({"role": "assistant", "content": answer})
        return {
            "api_key": account.key,
            "organization": account.organization or None,
            "client_address": account.address,
            "user_agent": account.client.agent,
            "started_at": time_ms / 1000,
            "ended_at": (time_ms + duration_ms) / 1000,
            "status": 200,
            "request": request,
            "response": {
                "id": f"chatcmpl-sim-{index}-{time_ms}",
                "object": "chat.completion",
                "created": time_ms // 1000,
                "model": account.client.model,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "length" if output_tokens == cut else "stop",
                        "message": {"role": "assistant", "content": answer},
                    }
                ],
                "usage": {
                    "prompt_tokens": turn.input_tokens,
                    "completion_tokens": output_tokens,
                    "total_tokens": turn.input_tokens + output_tokens,
                },
            },
        }
