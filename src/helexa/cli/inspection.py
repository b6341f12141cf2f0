"""`helexa inspect neuron|model NAME`: everything that a cortex knows of one thing."""

import json
from urllib.parse import quote

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_neuron, complete_served_model
from helexa.cli.detail_view import detail_text
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.writing import neuron_path


@click.group("inspect", epilog="""\b
Examples:
  helexa inspect neuron rack2
  helexa inspect model smollm2-135m -o json
""")  # fmt: skip
def inspect() -> None:
    """Show everything about one neuron or one model."""


@inspect.command("neuron")
@click.argument("name", shell_complete=complete_neuron)
@admin_option
@output_option
@debug_option
def neuron(name: str, admin: str, output: str) -> None:
    """Show the neuron NAME: hardware, health, models, its last answers, and its drain."""
    _show(admin, neuron_path(name), output)


@inspect.command("model")
@click.argument("name", shell_complete=complete_served_model)
@admin_option
@output_option
@debug_option
def model(name: str, admin: str, output: str) -> None:
    """Show the model NAME (an id or alias): config, replicas, and where one more would go."""
    _show(admin, f"/api/v1/models/{quote(name, safe='/:@')}", output)


def _show(admin: str, path: str, output: str) -> None:
    found = AdminClient(admin).get(path)
    click.echo(json.dumps(found) if output == "json" else detail_text(found))
