"""`helexa status`: one screen about a cortex and its fleet."""

import json

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.options import admin_option, debug_option, output_option
from helexa.cli.status_view import status_text
from helexa.util.errors import UnhealthyError


@click.command("status", epilog="""\b
Examples:
  helexa status
  helexa status --check          (for a watchdog: exit 8 when something is wrong)
  helexa status -o json | jq .models
""")  # fmt: skip
@admin_option
@click.option("--check", is_flag=True, help="Exit 8 when something is wrong.")
@output_option
@debug_option
def status(admin: str, check: bool, output: str) -> None:  # noqa: FBT001
    """Show the health of a cortex, its neurons and models, and what to do next."""
    client = AdminClient(admin)
    told = client.get("/api/v1/status")
    if output == "json":
        click.echo(json.dumps(told))
    else:
        click.echo(status_text(told, client.get("/api/v1/join")["command"]))
    if check and not told["healthy"]:
        count = len(told["problems"])
        raise UnhealthyError(
            f"problems: {count}; the cortex is {told['state']}", error_id="HX-0720",
            hint="the problems are listed above",
        )  # fmt: skip
