"""`stillwatch up | status | reset | kafka`: one machine's services, from the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.adapters.embedded import console_consumer, state
from services.bootstrap import load_settings
from services.errors import NotRunningError, StillwatchError
from services.supervisor import parts, status
from services.supervisor.first_alerts import fetch, tell_first_alerts
from services.supervisor.part import State
from services.supervisor.report import JsonReport, Report, TextReport
from services.supervisor.supervisor import Supervisor

BaseDir = Annotated[
    Path,
    typer.Option("--base-dir", envvar="STILLWATCH_BASE_DIR", help="Where the embedded services keep their data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]
DEFAULT_BASE_DIR = Path(".stillwatch")


class ResetNotConfirmedError(StillwatchError):
    """Nobody said that the data may go."""

    exit_code = 2


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("up")(up)
    app.command("status")(show_status)
    app.command("reset")(reset)
    kafka = typer.Typer(help="The broker's own tools, on the embedded Kafka.", no_args_is_help=True)
    kafka.callback()(_kafka_tools)
    kafka.command("console-consumer")(consume)
    app.add_typer(kafka, name="kafka")


def _kafka_tools() -> None:
    """Hold the sub-commands; its help is the group's."""


def up(
    *,
    simulate: Annotated[
        str | None, typer.Option("--simulate", metavar="SCENARIO", help="Send the traffic of this scenario.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="Simulated requests per second.")] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option("--workers", metavar="JOB=N", help="Run a job as so many processes; may be repeated."),
    ] = None,
    base_dir: BaseDir = DEFAULT_BASE_DIR,
    as_json: AsJson = False,
) -> None:
    """Start everything and keep it running.

    Everything: Kafka, Postgres, the topics, the migrations, the stream jobs, the alert sink, the API. Ready parts are
    listed by `stillwatch status`; each part's lines are kept in the base directory's `logs`.

    Ctrl-C drains and stops all of it; a second Ctrl-C hurries. STILLWATCH_KAFKA_BOOTSTRAP_SERVERS and
    STILLWATCH_DATABASE_URL name services to use in place of the embedded ones.
    """
    claim = state.take(base_dir)
    try:
        settings = load_settings()
        table = parts.plan(
            base_dir,
            kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
            database_url=settings.database_url.get_secret_value() if settings.database_url is not None else None,
            simulate=simulate,
            rate=rate,
            workers=dict(map(_job_and_number, workers or ())),
            # A person reads sentences; a pipe reads JSON.
            log_format="console" if sys.stdout.isatty() and not as_json else settings.log_format,
        )
        code = _supervise(base_dir.absolute(), table, as_json=as_json)
    finally:
        os.close(claim)
    raise typer.Exit(code)


def _job_and_number(text: str) -> tuple[str, int]:
    job, _, number = text.partition("=")
    if not (number.isascii() and number.isdigit() and int(number)):
        raise typer.BadParameter(f"{text!r} is not JOB=N, as in accounts=3.", param_hint="--workers")
    return job, int(number)


def _supervise(base_dir: Path, table: parts.Plan, *, as_json: bool) -> int:
    out = Output()
    names = tuple(part.name for part in table.parts)
    report: Report = JsonReport(out.write) if as_json else TextReport(out.write, names, colour=sys.stdout.isatty())
    record = status.StatusFile(base_dir, api_url=table.api_url, kafka_bootstrap_servers=table.kafka_bootstrap_servers)

    async def welcome() -> None:
        # Without the console nobody can sign in, and the plan need not have made the table of users.
        signs_in = parts.API in names
        password = await asyncio.to_thread(_first_password, table.database_url) if signs_in else None
        report.say(summary(table, password))
        look = partial(fetch, table.database_url, load_settings().tenant)
        await tell_first_alerts(report.say, look, table.api_url)

    supervisor = Supervisor(table.parts, report, log_dir=base_dir / "logs", on_ready=welcome, on_change=record.write)
    try:
        return asyncio.run(supervisor.run())
    finally:
        record.remove()


def _first_password(database_url: str) -> str | None:
    """Make the first user where there is none; the password goes to the terminal, once, and nowhere else."""
    from sqlalchemy.orm import Session  # noqa: PLC0415  # half a second that the start need not wait for

    from services.adapters.clock import utc_now  # noqa: PLC0415  # as above
    from services.adapters.postgres.engine import create_engine  # noqa: PLC0415  # as above
    from services.identity.people import ensure_first_admin  # noqa: PLC0415  # as above

    engine = create_engine(database_url, process="up", pool_size=1)
    try:
        with Session(engine) as session, session.begin():
            return ensure_first_admin(session, load_settings().tenant, utc_now())
    finally:
        engine.dispose()


class Output:
    """Standard output that may go away before we do: the drain must not fail for want of a reader."""

    def __init__(self) -> None:
        self._gone = False

    def write(self, text: str) -> None:
        """Write at once, or nowhere when the reader has gone."""
        if self._gone:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            self._gone = True
            # The interpreter flushes standard output at its end, and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def summary(table: parts.Plan, password: str | None) -> str:
    """Return what a newcomer needs once everything is ready; ``password`` is the first user's, on the first start."""
    way_in = f"admin / {password}   (shown this once)" if password else "as before; `stillwatch users list`"
    return "\n".join(
        (
            "",
            "Everything is ready.",
            f"  console        {table.api_url}/",
            f"  sign in        {way_in}",
            f"  API            {table.api_url}/openapi.json",
            f"  Kafka          {table.kafka_bootstrap_servers}",
            "  alerts         stillwatch alerts list",
            "  what runs      stillwatch status",
            "  stop           Ctrl-C",
            "",
        )
    )


def show_status(*, base_dir: BaseDir = DEFAULT_BASE_DIR, as_json: AsJson = False) -> None:
    """Show what runs: every part, its state, its pid and its ports.

    Exits with 0 when every part is ready, 3 when one is not, 4 when nothing runs.
    """
    found = status.read(base_dir)
    if found is None:
        raise NotRunningError(f"Stillwatch does not run on {base_dir}.", hint="Start it with `stillwatch up`.")
    if as_json:
        rows = [
            {
                "part": p.name,
                "state": str(p.state),
                "pid": p.pid,
                "restarts": p.restarts,
                "detail": p.detail,
                "ports": p.ports,
            }
            for p in found.parts
        ]
        told = {"pid": found.process.pid, "ready": found.ready, "api_url": found.api_url}
        typer.echo(json.dumps({**told, "kafka_bootstrap_servers": found.kafka_bootstrap_servers, "parts": rows}))
    else:
        _print_status(found)
    raise typer.Exit(0 if found.ready else 3)


def _print_status(found: status.Status) -> None:
    from rich.console import Console  # noqa: PLC0415  # 0.1 s that only this output costs
    from rich.table import Table  # noqa: PLC0415  # as above

    table = Table(
        "part", "state", "pid", "restarts", "ports", "", title=f"stillwatch, pid {found.process.pid}, {found.api_url}"
    )
    for part in found.parts:
        colour = (
            "green" if part.state in {State.READY, State.DONE} else "red" if part.state is State.FAILED else "yellow"
        )
        ports = " ".join(f"{name} {port}" for name, port in part.ports.items())
        pid = "" if part.pid is None else str(part.pid)
        table.add_row(part.name, f"[{colour}]{part.state}[/]", pid, str(part.restarts), ports, part.detail)
    Console().print(table)


def reset(
    *,
    base_dir: BaseDir = DEFAULT_BASE_DIR,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Wipe the embedded services' data: topics, alerts, labels, logs.

    Refused while anything runs on it. Asks first when a person is there to answer; a script says --yes.
    """
    if not yes and base_dir.is_dir():
        if not sys.stdin.isatty():
            raise ResetNotConfirmedError(f"Nobody is there to confirm that {base_dir} may be wiped.", hint="Say --yes.")
        typer.confirm(f"Wipe all topics, alerts and labels in {base_dir.absolute()}?", abort=True)
    deleted = state.reset(base_dir)
    if as_json:
        typer.echo(json.dumps({"base_dir": str(base_dir), "deleted": deleted}))
    else:
        typer.echo(f"wiped {base_dir}: {', '.join(deleted)}" if deleted else f"nothing to wipe in {base_dir}")


def consume(
    topic: Annotated[str, typer.Argument(help="The topic to read.")],
    *,
    max_messages: Annotated[
        int | None, typer.Option("--max-messages", min=1, help="Stop after so many records.")
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option("--timeout-ms", min=1, help="Stop when no record came for so long.")
    ] = None,
    base_dir: BaseDir = DEFAULT_BASE_DIR,
) -> None:
    """Read a topic from its beginning with Kafka's own console consumer.

    Headers, key and value of committed records.
    """
    servers = load_settings().kafka_bootstrap_servers or state.running_bootstrap_servers(base_dir)
    command = console_consumer(base_dir, servers, topic, max_messages=max_messages, timeout_ms=timeout_ms)
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603  # Kafka's own program, no shell
