"""`helexa models`: what is served, where, and why something is not."""

import json

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_model
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.status_view import models_text
from helexa.util.errors import NotFoundError


@click.command("models", epilog="""\b
Examples:
  helexa models
  helexa models smollm2-135m
  helexa models -o json
""")  # fmt: skip
@click.argument("name", required=False, shell_complete=complete_model)
@admin_option
@output_option
@debug_option
def models(name: str | None, admin: str, output: str) -> None:
    """List the models of a cortex, or only NAME: state, neurons, and why one is not there."""
    found = AdminClient(admin).get("/api/v1/models")["models"]
    if name is not None:
        found = [model for model in found if name in {model["id"], *model["aliases"]}]
        if not found:
            raise NotFoundError(
                f"no model is named {name!r}", error_id="HX-0721",
                hint="helexa models; `helexa pull` lists what can be had",
            )  # fmt: skip
    click.echo(json.dumps({"models": found}) if output == "json" else models_text(found))
