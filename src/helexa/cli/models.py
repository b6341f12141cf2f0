"""`helexa models`: what is served, where, and why something is not; and load, unload, pin."""

import json
from typing import Any, Final

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_model
from helexa.cli.live import show_live, watch_option
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.status_view import models_text
from helexa.cli.wanting import load, pin, unload, unpin
from helexa.util.errors import NotFoundError


class ModelsGroup(click.Group):
    """A group whose first command may be left out: what names no command is for `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` before arguments that begin with no command."""
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["list", *args]
        return super().parse_args(ctx, args)


_HELP: Final = frozenset({"-h", "--help"})


@click.group("models", cls=ModelsGroup, epilog="""\b
Examples:
  helexa models
  helexa models smollm2-135m
  helexa models --watch
  helexa models load smollm2-135m

Without a command, or with a model's name instead of one, it is `helexa models list`.
""")  # fmt: skip
def models() -> None:
    """List the models of a cortex; load, unload or pin one."""


@models.command("list", epilog="""\b
Examples:
  helexa models list
  helexa models list smollm2-135m
  helexa models list -o json
""")  # fmt: skip
@click.argument("name", required=False, shell_complete=complete_model)
@watch_option
@admin_option
@output_option
@debug_option
def listing(name: str | None, watch: bool, admin: str, output: str) -> None:  # noqa: FBT001
    """List the models of a cortex, or only NAME: state, neurons, and why one is not there."""
    client = AdminClient(admin)

    def text() -> str:
        found = _found(client, name)
        return json.dumps({"models": found}) if output == "json" else models_text(found)

    if watch:
        show_live(text)
    click.echo(text())


for _command in (load, unload, pin, unpin):
    models.add_command(_command)


def _found(client: AdminClient, name: str | None) -> list[Any]:
    found: list[Any] = client.get("/api/v1/models")["models"]
    if name is not None:
        found = [model for model in found if name in {model["id"], *model["aliases"]}]
        if not found:
            raise NotFoundError(
                f"no model is named {name!r}", error_id="HX-0721",
                hint="helexa models; `helexa pull` lists what can be had",
            )  # fmt: skip
    return found
