"""`helexa neurons`: the machines of a cortex, what they hold and how busy they are."""

import json

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.live import show_live, watch_option
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.status_view import neurons_text


@click.command("neurons", epilog="""\b
Examples:
  helexa neurons
  helexa neurons --watch
  helexa neurons -o json
""")  # fmt: skip
@watch_option
@admin_option
@output_option
@debug_option
def neurons(watch: bool, admin: str, output: str) -> None:  # noqa: FBT001
    """List the neurons of a cortex: state, marks, models, seats, memory and load."""
    client = AdminClient(admin)

    def text() -> str:
        found = client.get("/api/v1/neurons")
        return json.dumps(found) if output == "json" else neurons_text(found["neurons"])

    if watch:
        show_live(text)
    click.echo(text())
