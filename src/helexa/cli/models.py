"""`helexa models`: what is served, where, and why something is not."""

import json
from typing import Any

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_model
from helexa.cli.live import show_live, watch_option
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.status_view import models_text
from helexa.util.errors import NotFoundError


@click.command("models", epilog="""\b
Examples:
  helexa models
  helexa models smollm2-135m
  helexa models --watch
  helexa models -o json
""")  # fmt: skip
@click.argument("name", required=False, shell_complete=complete_model)
@watch_option
@admin_option
@output_option
@debug_option
def models(name: str | None, watch: bool, admin: str, output: str) -> None:  # noqa: FBT001
    """List the models of a cortex, or only NAME: state, neurons, and why one is not there."""
    client = AdminClient(admin)

    def text() -> str:
        found = _found(client, name)
        return json.dumps({"models": found}) if output == "json" else models_text(found)

    if watch:
        show_live(text)
    click.echo(text())


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
