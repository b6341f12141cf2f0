"""`helexa explain`: why something is as it is."""

import json
from urllib.parse import quote

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.explain_view import request_text
from helexa.cli.options import admin_option, debug_option, output_option


@click.group("explain", epilog="""\b
Examples:
  helexa explain request req-4f1c2a    (the x-request-id of an answer)
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
