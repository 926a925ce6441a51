"""The `stillwatch` command: finds the sub-command's module, and turns known errors into one line.

Modules are imported when their command is called, so `--help` costs no stream engine. Each exposes `register(app:
typer.Typer)`.

Exit codes: 0 well; 1 an error told on one line; 2 wrong usage; 3 a part could not start; 4 what the command needs does
not run; 5 it runs already; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Every command, its module, and the line that `--help` shows (a test compares it with the command's own).
COMMANDS: tuple[tuple[str, str, str], ...] = (
    (
        "up",
        "services.cli.up",
        "Start everything and keep it running.",
    ),
    ("status", "services.cli.up", "Show what runs: every part, its state, its pid and its ports."),
    ("reset", "services.cli.up", "Wipe the embedded services' data: topics, alerts, labels, logs."),
    ("users", "services.cli.users", "Who may sign in, and in which roles."),
    ("api-keys", "services.cli.users", "Keys for machines: issue, list and revoke."),
    ("audit", "services.cli.audit", "The record of every act: list it, and verify its chain."),
    ("dossier", "services.cli.dossier", "Make the sealed case file of an alert, and verify one."),
    ("topics", "services.cli.topics", "The topics table against the cluster."),
    ("migrate", "services.cli.migrate", "Bring the database to the newest schema."),
    ("simulate", "services.cli.simulate", "Send sample traffic of honest accounts and campaigns."),
    ("replay", "services.cli.replay", "Send the records of a file as a gateway would send them."),
    (
        "intake",
        "services.cli.intake",
        "Take vendors' records by HTTP, sketch them, and publish the events.",
    ),
    ("accounts", "services.cli.accounts", "What is known of accounts besides their requests."),
    (
        "backtest",
        "services.cli.backtest",
        "Run the detector over recorded traffic, without Kafka.",
    ),
    ("evaluate", "services.cli.evaluate", "Hold the detector, or alerts that are at hand, against the truth."),
    ("references", "services.cli.backtest", "What honest traffic looks like: made on purpose, promoted by a person."),
    (
        "score",
        "services.cli.score",
        "Score each row of a table by how surprising it is after the rows before it.",
    ),
    ("alerts", "services.cli.alerts", "List, show, label and export alerts."),
    ("models", "services.cli.models", "List, compare, promote, retire and undo what labels have taught."),
    ("entitlements", "services.cli.alerts", "Grant, list and revoke entitlements."),
    ("dead-letters", "services.cli.dead_letters", "What could not be counted, why, and a second try."),
    ("subscribe", "services.cli.subscribe", "Read alerts as they come; signed webhooks."),
    (
        "closed-loop",
        "services.cli.closed_loop",
        "Let attackers react to decisions, and compare three ladders, without Kafka.",
    ),
    (
        "decisions",
        "services.cli.decisions",
        "List, propose, approve and revoke decisions; the kill switch.",
    ),
    ("doctor", "services.cli.doctor", "Is everything as it must be, and what to do where it is not."),
    ("top", "services.cli.top", "Watch what runs: rates, lag, state, memory, delays, slow stages, alerts."),
    ("plan", "services.cli.plan", "How large an installation must be, from measured costs, and what breaks first."),
    ("forget", "services.cli.forget", "Erase an organisation or an account, and show what is left of it."),
    ("config", "services.cli.config", "Show the effective settings, secrets masked."),
    ("keys", "services.cli.keys", "The keys of identifiers and sketches: status and rotation."),
    ("worker", "services.cli.worker", "Run a stream worker that needs the gateway's formats."),
    ("kafka", "services.cli.up", "The broker's own tools, on the embedded Kafka."),
)


class LazyGroup(TyperGroup):
    """A group that knows its commands by table and imports a command's module when that command is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return every command's name, in the order of the table."""
        del ctx
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the loaded command, or a stand-in with its name and help line while only the list is asked for."""
        loaded = super().get_command(ctx, cmd_name)
        if loaded is not None:
            return loaded
        lines = {name: line for name, _, line in COMMANDS}
        return TyperCommand(cmd_name, help=lines[cmd_name]) if cmd_name in lines else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the module of the command that is being called."""
        if args:
            self._load(args[0])
        return super().resolve_command(ctx, args)

    def _load(self, wanted: str) -> None:
        for name, module, _ in COMMANDS:
            if name == wanted and name not in self.commands:
                self.add_command(load(module)[name], name)


def load(module: str) -> dict[str, Any]:
    """Import a command module and return its commands by name."""
    part = typer.Typer()
    importlib.import_module(module).register(part)
    return dict(typer.main.get_group(part).commands)


app = typer.Typer(
    cls=LazyGroup,
    name="stillwatch",
    help="Catch illicit distillation of language models in real time, on Kafka.",
    no_args_is_help=True,
    # Plain, for the list of commands is asked for most and rich takes 0.2 s to import; each command's own help is rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Catch illicit distillation of language models in real time, on Kafka."""
    del debug  # `main` looks for it, since an error can come before it is parsed.


def tell(error: StillwatchError) -> None:
    """Write the error as one red line, and its hint below."""
    from rich.console import Console  # noqa: PLC0415  # 0.1 s that only an error costs
    from rich.text import Text  # noqa: PLC0415  # as above

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"stillwatch: {error.message}", style="red"))
    if error.hint:
        console.print(Text(error.hint))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="stillwatch")
    except StillwatchError as error:
        if "--debug" in given:
            raise
        tell(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
