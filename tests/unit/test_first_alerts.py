"""The first alerts are told once each, oldest first, and then no more."""

from __future__ import annotations

import asyncio

import pytest

from services.supervisor.first_alerts import AlertLine, fetch, tell_first_alerts


def test_each_alert_is_told_once_and_the_telling_ends() -> None:
    pages = iter(
        [
            [],
            [AlertLine("a", "high", "A")],
            [AlertLine("c", "low", "C"), AlertLine("b", "low", "B"), AlertLine("a", "high", "A")],
        ]
    )
    said: list[str] = []

    async def quick(_seconds: float) -> None:
        return None

    asyncio.run(tell_first_alerts(said.append, lambda: next(pages), "http://x", shown=2, sleep=quick))
    assert [line.split()[1:3] for line in said] == [["high", "A"], ["low", "B"]]
    assert said[0].endswith("http://x/alerts/a")


@pytest.mark.enable_socket
def test_a_database_that_does_not_answer_has_no_alerts() -> None:
    assert fetch("postgresql+psycopg://nobody@127.0.0.1:9/nothing", "acme") == []
