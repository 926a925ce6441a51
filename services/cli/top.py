"""``stillwatch top``: what every process does at this moment, live in the terminal. Changes nothing.

Asks the processes of `stillwatch up` for their metrics, or those that ``--metrics`` names, and the brokers for their
topics' ends. Exit codes: 0 seen; 3 seen once, and something is not well; 4 nothing runs.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from services import bootstrap
from services.adapters.clock import SystemClock
from services.cli.up import DEFAULT_BASE_DIR, BaseDir
from services.errors import NotRunningError, StillwatchError
from services.supervisor import status
from services.supervisor.part import State
from services.top import screen, view
from services.top.reading import Reader, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.bootstrap import ClientConfig
    from services.settings import Settings

UNWELL: Final = 3
SMOOTHED_SECONDS: Final = 10.0
_WIDTH: Final = 160  # Where there is no terminal.
_LOOPBACK: Final = "127.0.0.1"


class AddressError(StillwatchError):
    """An address of --metrics cannot be read."""

    exit_code = 2
    hint = "Give HOST:PORT, or NAME=HOST:PORT."


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("top")(top)


def top(
    *,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print, and end.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics", help="HOST:PORT or NAME=HOST:PORT of a process's metrics, in place of `stillwatch up`'s."
        ),
    ] = None,
    base_dir: BaseDir = DEFAULT_BASE_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Write a line of JSON for each look.")] = False,
) -> None:
    """Watch what runs: rates, lag, state, memory, delays, slow stages, alerts.

    A line for each process and for each partition that is behind. Ctrl-C ends it.
    """
    named = [target_of(address) for address in metrics or ()]
    settings = bootstrap.load_settings()
    config = bootstrap.load_detection_config(settings).clocking
    # A pane closes at its end, a hop after its beginning, and what was late is waited for.
    pane = 2 * config.hop_ms / 1000 + config.lateness_ms / 1000
    reader = Reader(_brokers(settings, base_dir, external=bool(named)), SystemClock())
    moments = deque([reader.read(named or running(base_dir))])

    def look() -> view.View:
        time.sleep(every)
        moments.append(reader.read(named or running(base_dir)))
        # Some counts move with checkpoints alone: rates over less than that would jump.
        while len(moments) > 2 and moments[-1].at - moments[1].at >= SMOOTHED_SECONDS:  # noqa: PLR2004 - of two, a rate
            moments.popleft()
        return view.compare(moments[0], moments[-1])

    try:
        if once:
            _tell_once(look(), pane, as_json=as_json)
        elif as_json:
            while True:
                _write_json(look())
        else:
            _watch(look, pane)
    except KeyboardInterrupt:
        raise typer.Exit from None


def target_of(address: str) -> Target:
    """Read HOST:PORT or NAME=HOST:PORT; raises AddressError."""
    name, _, where = address.rpartition("=")
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise AddressError(f"{address} names no port of a host.")
    return Target(name or where, host.strip("[]"), int(port))


def running(base_dir: Path) -> list[Target]:
    """Give the processes of the `stillwatch up` on this directory that tell metrics; raises NotRunningError."""
    found = status.read(base_dir)
    if found is None:
        raise NotRunningError(
            f"Stillwatch does not run on {base_dir}.",
            hint="Start it with `stillwatch up`, or name its directory by --base-dir, or its processes by --metrics.",
        )
    return [
        Target(
            part.name,
            _LOOPBACK,
            part.ports["metrics"],
            part.pid,
            str(part.state),
            part.restarts,
        )
        for part in found.parts
        if "metrics" in part.ports and part.state is not State.DONE
    ]


def _brokers(settings: Settings, base_dir: Path, *, external: bool) -> ClientConfig | None:
    """Give the way to the brokers; None where nobody knows one, and the screen says so."""
    if not external:
        found = status.read(base_dir)
        if found is not None:
            settings = settings.model_copy(update={"kafka_bootstrap_servers": found.kafka_bootstrap_servers})
    try:
        return bootstrap.consumer_base(settings)
    except NotRunningError:
        return None


def _tell_once(found: view.View, pane: float, *, as_json: bool) -> None:
    if as_json:
        _write_json(found)
    else:
        Console(width=None if sys.stdout.isatty() else _WIDTH).print(screen.draw(found, pane_seconds=pane))
    if not all(map(view.healthy, found.jobs)):
        raise typer.Exit(UNWELL)


def _write_json(found: view.View) -> None:
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    sys.stdout.flush()


def _watch(look: Callable[[], view.View], pane: float) -> None:
    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        live.update("looking ...", refresh=True)
        while True:
            found = look()
            live.update(screen.draw(found, lines=console.height, pane_seconds=pane), refresh=True)
