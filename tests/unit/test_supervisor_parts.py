from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from services.cli.up import _job_and_number
from services.supervisor import parts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.enable_socket  # Ports are found by binding to them.
STORES = {"kafka_bootstrap_servers": "127.0.0.1:1", "database_url": "postgresql+psycopg://127.0.0.1:1/none"}


def test_a_job_of_several_workers_is_as_many_parts_with_indices_and_ports_of_their_own(tmp_path: Path) -> None:
    table = parts.plan(tmp_path, **STORES, workers={"accounts": 3}, simulate="demo")
    workers = {part.name: part for part in table.parts if part.name.startswith("accounts")}
    assert list(workers) == ["accounts", "accounts-1", "accounts-2"]
    assert [part.env["STILLWATCH_WORKER_INDEX"] for part in workers.values()] == ["0", "1", "2"]
    ports = [port for part in table.parts for port in part.ports.values()]
    assert len(set(ports)) == len(ports)
    simulator = next(part for part in table.parts if part.name == parts.SIMULATOR)
    assert set(workers) <= set(simulator.after)


def test_without_a_word_every_job_is_one_process(tmp_path: Path) -> None:
    names = [part.name for part in parts.plan(tmp_path, **STORES).parts]
    assert names == [name for name, *_ in (*parts.TASKS, *parts.WORKERS)]


def test_a_job_of_one_process_cannot_have_several(tmp_path: Path) -> None:
    with pytest.raises(parts.UnsharedJobError, match="incidents cannot have several workers"):
        parts.plan(tmp_path, **STORES, workers={"incidents": 2})


@pytest.mark.parametrize("text", ["accounts", "accounts=", "accounts=0", "accounts=-1", "accounts=two", "accounts=²"])
def test_what_is_not_a_job_and_a_number_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="accounts=3"):
        _job_and_number(text)
