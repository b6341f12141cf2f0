"""The `helexa` command: parse, configure, delegate. Each command's module is loaded when used."""

import importlib
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from helexa.cli.telling import Telling, exit_status_of, tell_error
from helexa.config.problems import did_you_mean

_COMMANDS: Final = {
    "up": ("helexa.cli.up", "Start everything on this machine and serve a first model."),
    "cortex": ("helexa.cli.roles", "Run a cortex: the gateway and the control plane."),
    "neuron": ("helexa.cli.roles", "Run a neuron here; or drain and cordon one."),
    "status": ("helexa.cli.status", "Show health, neurons, models and what to do next."),
    "models": ("helexa.cli.models", "List models and where they run; load, unload, pin one."),
    "neurons": ("helexa.cli.neurons", "List neurons: what they hold and how busy they are."),
    "inspect": ("helexa.cli.inspection", "Show everything about one neuron or model."),
    "explain": ("helexa.cli.explain", "Tell why a request or a model is where it is."),
    "spec": ("helexa.cli.spec", "Check, plan and apply which models should run."),
    "keys": ("helexa.cli.keys", "Give out, rotate and revoke API keys."),
    "tenants": ("helexa.cli.tenants", "Make, list and disable tenants."),
    "projects": ("helexa.cli.projects", "Make, list and disable projects of tenants."),
    "audit": ("helexa.cli.audit", "Show who changed what, and when."),
    "store": ("helexa.cli.store", "Check, back up and migrate the database of keys."),
    "pull": ("helexa.cli.pull", "Download a model's weights."),
    "chat": ("helexa.cli.chat", "Talk to a model, here or at any OpenAI-compatible server."),
    "config": ("helexa.cli.settings", "Check, show and explain settings."),
    "completion": ("helexa.cli.completion", "Print the completion script of a shell."),
    "version": ("helexa.cli.version", "Print the version."),
}


class CommandTable(click.Group):
    """A group that knows its commands' names and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command `cmd_name`; None where there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, or say which one may have been meant."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            advice = did_you_mean(args[0], _COMMANDS)
            ctx.fail(f"no such command: {args[0]!r}{advice}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=CommandTable,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here: `helexa up` serves a first model on this machine, end to end.",
)
@click.option("--debug", is_flag=True, envvar="HELEXA_DEBUG", help="Show a traceback with errors.")
@click.option("--no-color", is_flag=True, help="No colours; as with NO_COLOR set.")
# https://no-color.org: any value but an empty one, so it is no flag of its own.
@click.option("--no-color-by-environment", "by_environment", envvar="NO_COLOR", hidden=True)
@click.pass_context
def cli(ctx: click.Context, debug: bool, no_color: bool, by_environment: str | None) -> None:  # noqa: FBT001
    """Turn a few machines into one AI inference service with an OpenAI-compatible front door."""
    telling = ctx.ensure_object(Telling)
    telling.debug = telling.debug or debug
    if no_color or by_environment:
        ctx.color = telling.color = False


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and end the process with its exit status."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; errors are told on standard error."""
    telling = Telling()
    try:
        status = cli.main(
            args=list(arguments), prog_name="helexa", standalone_mode=False, obj=telling
        )
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the outermost frame)
        tell_error(error, telling)
        return exit_status_of(error)
    return status if isinstance(status, int) else 0
