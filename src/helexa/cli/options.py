"""Options that several commands share, and the table that ties flags to settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from helexa.cli.telling import Telling

F = TypeVar("F", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A number within bounds. click's own takes "nan" for one: it is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; fails for what is none, and for "nan" and "inf"."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class FlagSpec(NamedTuple):
    """A flag that sets one setting."""

    names: tuple[str, ...]
    path: tuple[str, ...]
    metavar: str
    text: str
    is_flag: bool = False

    @property
    def parameter(self) -> str:
        """The name under which click passes its value."""
        return self.names[0].removeprefix("--").replace("-", "_")


_SHARED: Final = (
    FlagSpec(("--log-level",), ("log", "level"), "LEVEL", "debug, info, warning or error."),
    FlagSpec(("--log-style",), ("log", "style"), "STYLE", "console, or json for log collectors."),
    FlagSpec(("--state-dir",), ("state_dir",), "DIR",
             "Private folder for what outlives a restart."),
)  # fmt: skip

CORTEX_FLAGS: Final = (
    *_SHARED,
    FlagSpec(("--gateway-socket",), ("gateway", "socket"), "HOST:PORT",
             "Where applications reach the API [127.0.0.1:8080]."),
    FlagSpec(("--control-plane-socket",), ("control_plane", "socket"), "HOST:PORT",
             "Where neurons join [127.0.0.1:9040]."),
    FlagSpec(("--orchestrator-socket", "--admin-socket"), ("admin", "socket"), "HOST:PORT",
             "Where operators reach status and control [127.0.0.1:8040]."),
    FlagSpec(("--portal-socket",), ("portal", "socket"), "HOST:PORT",
             "Where browsers reach the portal [off]."),
    FlagSpec(("--join-token-file",), ("control_plane", "join_token_file"), "FILE",
             "Token that neurons must hold to join."),
    FlagSpec(("--auth",), ("auth", "kind"), "KIND",
             "Who may use the gateway: none, keys_file, or store (`helexa keys`)."),
    FlagSpec(("--keys-file",), ("auth", "keys_file"), "FILE", "API keys, one a line."),
    FlagSpec(("--spec",), ("spec",), "FILE", "JSON file with models to start with."),
)  # fmt: skip

NEURON_FLAGS: Final = (
    *_SHARED,
    FlagSpec(("--cortex-control-endpoint",), ("cortex_control_endpoint",), "URL",
             "Control plane of the cortex to join [ws://127.0.0.1:9040]."),
    FlagSpec(("--node-id",), ("node_id",), "NAME", "Name of this neuron [the host's name]."),
    FlagSpec(("--api-socket",), ("api", "socket"), "HOST:PORT",
             "Where local tools reach this neuron [127.0.0.1:8060]."),
    FlagSpec(("--join-token-file",), ("join_token_file",), "FILE",
             "Token that the cortex asks for."),
    FlagSpec(("--allow-cleartext",), ("allow_cleartext",), "",
             "Dial a cortex on another machine by ws://, unencrypted.", is_flag=True),
)  # fmt: skip


def setting_flags(specs: Sequence[FlagSpec]) -> Callable[[F], F]:
    """Add the flags of a table to a command."""

    def decorate(command: F) -> F:
        for spec in reversed(specs):
            if spec.is_flag:
                option = click.option(*spec.names, is_flag=True, default=None, help=spec.text)
            else:
                option = click.option(*spec.names, metavar=spec.metavar, help=spec.text)
            command = option(command)
        return command

    return decorate


def given_flags(specs: Sequence[FlagSpec], values: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Return the flags that were given, as the settings loader takes them."""
    from helexa.config.load import Flag

    return {
        spec.path: Flag(values[spec.parameter], spec.names[0])
        for spec in specs
        if values.get(spec.parameter) is not None
    }


config_option = click.option(
    "--config", "config_file", metavar="FILE", envvar="HELEXA_CONFIG",
    type=click.Path(path_type=Path), help="TOML file with settings.",
)  # fmt: skip

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="Form of the output; json is stable and for programs.",
)  # fmt: skip

listing_output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table",
    show_default=True, help="Form of the output; json and csv are stable and for programs.",
)  # fmt: skip

_admin_socket_option = click.option(
    "--admin", metavar="HOST:PORT", envvar="HELEXA_ADMIN_SOCKET", default="127.0.0.1:8040",
    show_default=True, help="Admin socket of the cortex.",
)  # fmt: skip


def _admin_key(ctx: click.Context, _parameter: click.Parameter, given: Path | None) -> None:
    ctx.ensure_object(Telling).admin_key_file = given


_admin_key_option = click.option(
    "--admin-key-file", metavar="FILE", envvar="HELEXA_ADMIN_KEY_FILE", expose_value=False,
    type=click.Path(path_type=Path), callback=_admin_key,
    help="File with a key of the scope admin (or read), where the cortex asks for one.",
)  # fmt: skip


def admin_option(command: F) -> F:
    """Add `--admin`, and the key that goes with it, which `AdminClient` finds by itself."""
    return _admin_socket_option(_admin_key_option(command))


def _debug(ctx: click.Context, _parameter: click.Parameter, given: bool) -> None:  # noqa: FBT001
    if given:
        ctx.ensure_object(Telling).debug = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug,
    help="Show a traceback with errors.",
)  # fmt: skip
