"""`helexa explain`: why something is as it is."""

import json
from urllib.parse import quote

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.completion import complete_served_model
from helexa.cli.explain_view import request_text
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.placement_view import placement_text


@click.group("explain", epilog="""\b
Examples:
  helexa explain request req-4f1c2a    (the x-request-id of an answer)
  helexa explain placement smollm2-135m
""")  # fmt: skip
def explain() -> None:
    """Tell why a cortex did what it did."""


@explain.command("request")
@click.argument("request_id", metavar="ID")
@admin_option
@output_option
@debug_option
def request(request_id: str, admin: str, output: str) -> None:
    """Show the way of the request ID: candidates, what removed them, scores, choice, times.

    The last 2,048 requests are remembered, and those of the last ten minutes that were refused or
    failed. ID is the `x-request-id` header of the answer.
    """
    told = AdminClient(admin).get(f"/api/v1/requests/{quote(request_id, safe='')}")
    click.echo(json.dumps(told) if output == "json" else request_text(told))


@explain.command("placement")
@click.argument("model", shell_complete=complete_served_model)
@admin_option
@output_option
@debug_option
def placement(model: str, admin: str, output: str) -> None:
    """Show why MODEL runs where it does, and where one more replica of it would go.

    The funnel tells what each rule removes, with numbers, and what would help.
    """
    told = AdminClient(admin).get(f"/api/v1/explain/placement?model={quote(model, safe='')}")
    click.echo(json.dumps(told) if output == "json" else placement_text(told))
